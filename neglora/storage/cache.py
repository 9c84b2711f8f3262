"""Where this machine keeps copies of what it has read from URIs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from neglora.storage.uri import parts, shown

#: Names the folder; without it, it is `neglora` in the user's cache.
CACHE = "NEGLORA_CACHE"
#: Options of a URI, and variables, that say which server a name belongs to.
_SERVERS = ("endpoint_override", "blob_storage_authority", "dfs_storage_authority")
_S3_SERVERS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def cache_folder(uri: str) -> Path:
    """The folder of this machine that mirrors a URI; another one for the same path at another endpoint.

    Raises:
        StorageError: it is no URI.
    """
    own = os.environ.get(CACHE)
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neglora"
    scheme, _, _, options = parts(uri)
    server = next((options[name] for name in _SERVERS if options.get(name)), "")
    if not server and scheme == "s3":
        given = next((os.environ[name] for name in _S3_SERVERS if os.environ.get(name)), "")
        server = given.partition("://")[2].rstrip("/") or given
    identity = f"{shown(uri).rstrip('/')} {server}".strip()
    return base.expanduser().absolute() / hashlib.sha256(identity.encode()).hexdigest()[:16]
