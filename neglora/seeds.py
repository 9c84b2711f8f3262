"""Seeds by hashing: every random stream has a name, so that adding one leaves the others alone."""

from __future__ import annotations

import hashlib
import json


def derive_seed(root: int, *path: object) -> int:
    """Derive the seed of a named stream from a root seed.

    Args:
        root: the seed that a user gave.
        path: what names the stream, such as `"loader", 3`; JSON-serializable parts.

    Returns:
        An integer in [0, 2**31), the same on every machine and in every process.
    """
    text = json.dumps([root, *path], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
