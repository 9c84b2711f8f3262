"""Where a number comes from: versions, source revision, host and time. No torch."""

from __future__ import annotations

import platform
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

#: Beside the packages where they were sent without their repository: the revision that they were sent from.
REVISION = "neglora.revision"
PACKAGES = ("neglora", "torch", "torchvision", "timm", "peft", "optuna", "ray", "numpy", "scikit-learn")


@cache
def versions() -> dict[str, str | None]:
    """Version of each package that results depend on; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


@cache
def revision() -> str | None:
    """The git revision of the source, with `+` where files differ from it.

    Outside a checkout it is the one that was sent along; None without either.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        sent = root / REVISION
        return sent.read_text(encoding="ascii").strip() if sent.is_file() else None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def provenance() -> dict[str, Any]:
    """Versions, revision, host and the time in UTC."""
    return {
        **versions(),
        "revision": revision(),
        "host": platform.node(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
