import platform
import re
from importlib import metadata

import pytest

from neglora import provenance


@pytest.fixture(autouse=True)
def uncached():
    provenance.versions.cache_clear()
    provenance.revision.cache_clear()
    yield
    provenance.versions.cache_clear()
    provenance.revision.cache_clear()


def test_versions_are_those_installed():
    found = provenance.provenance()
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == platform.python_version()
    assert found["host"] == platform.node()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["time"])


def test_a_package_that_is_absent_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-of-ours"))
    assert provenance.versions() == {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "no-such-package-of-ours": None,
    }


def checkout(monkeypatch, folder):
    """Let the module believe that it lies in `folder`."""
    monkeypatch.setattr(provenance, "__file__", str(folder / "neglora" / "provenance.py"))
    provenance.revision.cache_clear()


def test_outside_a_checkout_there_is_no_revision(monkeypatch, tmp_path):
    checkout(monkeypatch, tmp_path)
    assert provenance.revision() is None


def test_revision_marks_changed_files(monkeypatch, tmp_path):
    def git(*words):
        return provenance._git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", *words)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first", "--no-gpg-sign")
    checkout(monkeypatch, tmp_path)
    clean = provenance.revision()
    assert clean == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "file").write_text("two")
    checkout(monkeypatch, tmp_path)
    assert provenance.revision() == clean + "+"


def test_a_broken_checkout_has_no_revision(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    checkout(monkeypatch, tmp_path)
    assert provenance.revision() is None
