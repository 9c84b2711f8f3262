"""`neglora report`: what it writes and where, figures to take along, and a report that follows a study."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from study.cli import main
from study.ledger import Ledger
from study.report import read_study, render
from tests.study import handmade

RECORDS = handmade.searched(2)
#: As many trials as the records have.
ASKED = {"study": "watched", "search": {"sampler": "tpe", "trials": 2, "seed": 0, "batch": 1}}
REFRESH = '<meta http-equiv="refresh" content="10">'


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return handmade.write_study(tmp_path / "runs" / "watched", RECORDS, **ASKED)


@pytest.fixture
def short_reports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pages of a line in place of the real ones; how many records each of them was of."""
    written: list[int] = []

    def write_report(folders: list[Path], out: Path, *, again: float | None = None) -> Path:
        written.append(sum(len(read_study(folder).records) for folder in folders))
        out.write_text("" if again is None else f'<meta http-equiv="refresh" content="{again:g}">' + "a page")
        return out

    monkeypatch.setattr("study.report.write_report", write_report)
    return written


def said(capsys: pytest.CaptureFixture[str], *words: object, expected: int = 0) -> str:
    """Run `neglora report`; all that it printed, on one line."""
    assert main(["report", *map(str, words)]) == expected
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.out + captured.err).split())


def test_figures_are_written_as_the_page_has_them(study, tmp_path, capsys):
    folder = tmp_path / "paper" / "figures"
    told = said(capsys, study, "--figures", folder)
    page = (study / "report.html").read_text(encoding="utf-8")
    assert REFRESH not in page
    names = sorted(path.stem for path in folder.glob("*.svg"))
    assert len(names) > 3
    assert names == sorted(path.stem for path in folder.glob("*.png"))
    assert f"Figures: {len(names)} as SVG and PNG" in told
    assert all(f'<div id="{name}" class="figure"' in page for name in names)
    assert page.count('class="figure"') == len(names)
    assert len(list(folder.iterdir())) == 2 * len(names), "nothing else, and nothing unfinished"
    picture, text = folder / "tradeoff-ua-ra-watched-digits-tinyvit_nano.png", names[0]
    assert Image.open(picture).size[0] == 1440
    assert "<svg" in (folder / f"{text}.svg").read_text(encoding="utf-8")


def test_a_figure_without_a_picture_is_named(study, tmp_path, capsys, monkeypatch):
    page = (
        '<div id="odd" class="figure" data-figure="odd-data" role="img" aria-label="An odd one"></div>'
        '<script type="application/json" id="odd-data">{"data": [{"type": "violin"}], "layout": {}}</script>'
    )
    monkeypatch.setattr("study.report.write_report", lambda folders, out: out.write_text(page))
    told = said(capsys, study, "--figures", tmp_path / "figures", expected=1)
    assert "odd has no picture" in told
    assert "violin" in told


@pytest.mark.usefixtures("short_reports")
def test_an_empty_report_has_no_figures(study, tmp_path, capsys):
    assert "the report has none yet" in said(capsys, study, "--figures", tmp_path / "figures")


@pytest.mark.usefixtures("short_reports")
def test_where_a_report_cannot_be_written_it_says_what_to_do(study, tmp_path, capsys):
    told = said(capsys, study, "-o", tmp_path, expected=2)
    assert f"{tmp_path} is a folder: name a file in it, such as {tmp_path}/report.html" in told
    (tmp_path / "taken").write_text("")
    for option, remedy in (("-o", "give another file"), ("--figures", "give another folder")):
        told = said(capsys, study, option, tmp_path / "taken" / "figures" / "report.html", expected=2)
        assert "there is a file where a folder should be" in told
        assert remedy in told
        assert "Errno" not in told
    told = said(capsys, study, "-o", tmp_path / "new" / "deep" / "report.html")
    assert "new/deep/report.html" in told


def test_a_full_disk_is_said_with_what_to_do(study, tmp_path, capsys, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("study.report.write_report", full)
    told = said(capsys, study, "-o", tmp_path / "report.html", expected=2)
    assert "cannot be written to" in told
    assert "No space left on device; give another file with -o" in told


@pytest.mark.usefixtures("short_reports")
def test_whoever_may_only_read_a_study_has_its_report(study, tmp_path, capsys, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("study.aggregate.write_tables", refused)
    told = said(capsys, study, "-o", tmp_path / "report.html")
    assert "tables were not written to" in told
    assert "Report: " in told


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9"])
def test_seconds_are_above_zero(study, capsys, seconds):
    assert "expected seconds above 0" in said(capsys, study, "--watch", f"--every={seconds}", expected=2)


def growing(study: Path, steps: list[Callable[[Ledger], None]], written: list[int]) -> threading.Thread:
    """A run that does each step once a page was written of what was there before, and then ends."""

    def run() -> None:
        with Ledger.open(study) as ledger:
            for number, step in enumerate(steps):
                while len(written) <= number:
                    ended.wait(0.005)
                step(ledger)
            while len(written) <= len(steps):
                ended.wait(0.005)

    ended = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_it_follows_a_run_to_its_end(study, short_reports, capsys):
    (study / "ledger.jsonl").unlink()
    steps: list[Callable[[Ledger], None]] = [lambda ledger, one=one: ledger.append(one) for one in RECORDS]
    # What is held here is held before the watch looks.
    (study / "ledger.lock").touch()
    run = growing(study, steps, short_reports)
    told = said(capsys, study, "--watch", "--every", "0.005")
    run.join(10)
    assert not run.is_alive()
    assert short_reports == [0, *range(1, len(RECORDS) + 1), len(RECORDS)], "each state once, and at last without it"
    assert f"watched: {len(RECORDS)} of {len(RECORDS)} trials ({len(RECORDS)} ok)" in told
    assert "watched: 0 of" in told
    assert told.count("Report: ") == 2
    assert "refresh" not in (study / "report.html").read_text()
    assert (study / "summary.json").exists()


def test_a_line_that_is_being_written_does_not_count_yet(study, short_reports, capsys):
    ledger = study / "ledger.jsonl"
    whole = ledger.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    ledger.write_bytes(whole[: -len(last)])

    def run() -> None:
        for number, text in enumerate((last[:20], last[20:])):
            while len(short_reports) <= number:
                ended.wait(0.005)
            with ledger.open("ab") as file:
                file.write(text)

    ended = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    said(capsys, study, "--watch", "--every", "0.005")
    thread.join(10)
    assert short_reports == [len(RECORDS) - 1, len(RECORDS) - 1, len(RECORDS)]


def test_a_study_that_has_ended_is_reported_once(study, short_reports, capsys):
    told = said(capsys, study, "--watch")
    assert short_reports == [len(RECORDS)]
    assert "refresh" not in (study / "report.html").read_text()
    assert told.count("Report: ") == 1


def test_a_study_that_is_not_there_yet_is_waited_for(tmp_path, short_reports, capsys, monkeypatch):
    folder = tmp_path / "runs" / "late"
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            handmade.write_study(folder, RECORDS, **ASKED)

    monkeypatch.setattr("study.cli.watching.time.sleep", sleep)
    told = said(capsys, folder, "--watch", "--every", "7")
    assert told.count(f"Waiting for a study in {folder} (Ctrl-C ends this)") == 1
    assert looks == [7, 7, 7]
    assert short_reports == [len(RECORDS)]


def test_ctrl_c_leaves_a_page_that_stays_as_it_is(study, capsys, monkeypatch):
    (study / "ledger.jsonl").write_text("".join(one.to_line() + "\n" for one in RECORDS[:-1]))
    during: list[str] = []

    def sleep(_: float) -> None:
        during.append((study / "report.html").read_text(encoding="utf-8"))
        raise KeyboardInterrupt

    monkeypatch.setattr("study.cli.watching.time.sleep", sleep)
    told = said(capsys, study, "--watch", expected=130)
    assert REFRESH in during[0]
    assert "watched: 6 of 7 trials (6 ok)" in told
    after = (study / "report.html").read_text(encoding="utf-8")
    assert after == render([read_study(study)]), "the same bytes as ever"


@pytest.mark.parametrize("text", ["no record\n", '{"schema": 99}\n'])
def test_a_ledger_that_cannot_be_read_ends_it_with_the_line(study, short_reports, capsys, text):
    (study / "ledger.jsonl").write_text(text)
    assert "ledger.jsonl:1:" in said(capsys, study, "--watch", expected=2)
    assert short_reports == []


def test_a_storage_that_fails_for_a_while_is_tried_again(study, short_reports, capsys, monkeypatch):
    from neglora.storage import StorageError
    from study.place import Place

    ledger = study / "ledger.jsonl"
    whole = ledger.read_text()
    ledger.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    looks: list[int] = []

    def fetch(self: Place, names: object = None) -> None:
        looks.append(1)
        if len(looks) in (2, 3):
            raise StorageError("the storage does not answer")
        if len(looks) == 4:
            ledger.write_text(whole)

    monkeypatch.setattr(Place, "fetch", fetch)
    told = said(capsys, study, "--watch", "--every", "0.001")
    assert told.count("the storage does not answer; trying again") == 2
    assert short_reports == [len(RECORDS) - 1, len(RECORDS)]
