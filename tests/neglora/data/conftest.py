from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of decoded images of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEGLORA_CACHE", str(folder))
    return folder
