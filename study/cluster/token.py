"""Ray's token: who holds it may run code on a cluster. Found, made where there is none, and shown to nobody."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from study.cluster.failures import ClusterError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"

#: Bytes of a token that is made here, of the system's randomness.
TOKEN_BYTES = 32

_log = logging.getLogger(__name__)


def token_file() -> Path:
    """Where the token is read from, and written to where there is none: as Ray has it."""
    given = os.environ.get(TOKEN_PATH)
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def read_token() -> str | None:
    """The token of this user: from the environment, else from its file; None where there is none.

    Raises:
        ClusterError: there is a file that cannot be read.
    """
    if given := os.environ.get(TOKEN, "").strip():
        return given
    file = token_file()
    try:
        text = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"the token in {file} cannot be read: {_reason(error)}") from error
    _warn_of_readers(file)
    return text or None


def token_place() -> str:
    """Where the token is kept, in words; never the token."""
    return f"${TOKEN}" if os.environ.get(TOKEN, "").strip() else str(token_file())


def how_to_give() -> str:
    """What to do for a cluster to let one in."""
    return (
        f"put the cluster's token into {Path.home() / '.ray' / 'auth_token'} (chmod 600), or name its file in "
        f"{TOKEN_PATH}. `ray get-auth-token` prints it on the cluster's head"
    )


def ask_for_token() -> bool:
    """Let what is started here ask for a token, unless the user has set `RAY_AUTH_MODE`; one is made where none is.

    What is started inherits the environment, and reads the same token.

    Returns:
        Whether a token will be asked for.

    Raises:
        ClusterError: the token cannot be read.
    """
    mode = os.environ.setdefault(MODE, "token")
    if mode.lower() != "token":
        return False
    if read_token() is None:
        _make_token()
    return True


def tell_ray() -> None:
    """Let Ray in this process read mode and token anew: it does so once, when it is imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _make_token() -> None:
    """Write a new token where only this user can read it; in a temporary file where home cannot be written."""
    text = secrets.token_hex(TOKEN_BYTES)
    file = token_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(file, text)
    except OSError as error:
        if os.environ.get(TOKEN_PATH):
            raise ClusterError(f"{TOKEN_PATH} names {file}, which cannot be written: {error.strerror}") from error
        folder = tempfile.mkdtemp(prefix="neglora-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        file = Path(folder) / "auth_token"
        _write(file, text)
        os.environ[TOKEN_PATH] = str(file)


def _write(file: Path, text: str) -> None:
    """Write the token. Where another process was quicker, its token stays; an empty file is filled."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if file.read_text(encoding="ascii").strip():
            return
        file.chmod(0o600)
        handle = os.open(file, os.O_WRONLY | os.O_TRUNC)
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        opened.write(text)


def _warn_of_readers(file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ClusterError(f"the token in {file} cannot be read: {_reason(error)}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("others on this machine may read the token in %s: chmod 600 %s", file, file)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is no text"
