import logging

import pytest

from study.cli.telling import told


def log_something() -> None:
    logging.getLogger("neglora.data.decoded").info("photos: decoded 40%%, about %.0f s to go", 12)
    logging.getLogger("neglora.data.decoded").debug("a detail")
    logging.getLogger("neglora.artifacts").warning("an artifact is damaged")
    logging.getLogger("neglora.artifacts").info("nobody waits for this")


def test_progress_on_data_and_warnings_are_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with told():
        log_something()
    shown = capsys.readouterr()
    assert shown.err == "photos: decoded 40%, about 12 s to go\nan artifact is damaged\n"
    assert shown.out == ""


def test_afterwards_logging_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    library, data = logging.getLogger("neglora"), logging.getLogger("neglora.data")
    before = (list(library.handlers), data.level)
    with pytest.raises(KeyError), told():
        raise KeyError
    assert (list(library.handlers), data.level) == before
