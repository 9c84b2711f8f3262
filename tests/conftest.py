"""What tests of more than one room need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neglora.storage import CACHE
from tests.s3 import S3, serving


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with serving() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An S3 on loopback (see `tests.s3`), with an empty cache of this machine in `tmp_path / "cache"`."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    yield s3_server
    s3_server.denied.clear()
    s3_server.unconditional = False
    s3_server.busy = 0
