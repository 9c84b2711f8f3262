"""URIs of storages: what they are, how people see them, and what must not be in them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from neglora.storage.errors import StorageError

AZURE = ("abfs", "abfss")
_URI = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_PLAIN_AUTHORITY = re.compile(r"[^:@]*(:\d{1,5})?")
_SECRET = re.compile(r"key|secret|token|password|credential$|signature|^sig$|sas", re.IGNORECASE)


def is_uri(text: str) -> bool:
    """Whether a storage is a URI rather than a folder."""
    return bool(_URI.match(text))


def parts(uri: str) -> tuple[str, str, str, dict[str, str]]:
    """Scheme, authority (host or bucket), path and options of a URI.

    Raises:
        StorageError: it is none.
    """
    found = _URI.match(uri)
    if not found:
        raise StorageError(f"{uri!r} is no URI such as s3://bucket/runs")
    rest, _, query = found[2].partition("?")
    authority, slash, path = rest.partition("/")
    return found[1].lower(), authority, slash + path, dict(parse_qsl(query, keep_blank_values=True))


def shown(uri: str) -> str:
    """A URI as people may see it in a terminal or a log: without user, password and options. A folder as it is.

    Of a URI that is malformed, such as a password with a slash in it, less is shown rather than too much.
    """
    if not is_uri(uri):
        return uri
    scheme, authority, path, _ = parts(uri)
    if scheme in AZURE and "@" in authority:
        # What comes before the host is the container.
        container, _, host = authority.rpartition("@")
        return f"{scheme}://{container.partition(':')[0]}@{host}{path}"
    if _PLAIN_AUTHORITY.fullmatch(authority):
        return f"{scheme}://{authority}{path}"
    _, at, rest = (authority + path).rpartition("@")
    return f"{scheme}://{rest if at else '...'}"


def refuse_secrets(uri: str) -> None:
    """Stop at a URI with credentials in it: it is handed on to other machines, and seen in lists of processes and jobs.

    Raises:
        StorageError: there are some.
    """
    scheme, authority, _, options = parts(uri)
    user = authority.rpartition("@")[0]
    allowed = (scheme in AZURE and ":" not in user) or (scheme in ("gs", "gcs") and user == "anonymous")
    secret = [name for name, value in options.items() if _SECRET.search(name) or "@" in value]
    if (user and not allowed) or secret or not (user or _PLAIN_AUTHORITY.fullmatch(authority)):
        named = f" ({', '.join(secret)})" if secret else ""
        raise StorageError(
            f"{shown(uri)}: credentials{named} do not belong in a URI, where others can read them: "
            "give them by the environment or the store's own files (docs/storage.md)"
        )
