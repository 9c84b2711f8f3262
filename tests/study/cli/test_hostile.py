"""Ledgers and spaces that somebody made to harm: told as mistakes or shown as text, without a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cli import main
from study.cli.terminal import plain
from tests.study import handmade

STEERING = "\x1b]0;evil\x07\x9b2J\u202e"
EVIL = STEERING + "<script>alert(1)</script>"
HUGE = 10**400

Harm = Callable[[dict[str, Any]], None]


def put(*place: Any, value: Any) -> Harm:
    def harm(record: dict[str, Any]) -> None:
        for part in place[:-1]:
            record = record[part]
        record[place[-1]] = value

    return harm


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    captured = capsys.readouterr()
    told = captured.out + captured.err
    assert code in (0, 2)
    assert "Traceback" not in told
    assert not set(told) & set(STEERING) - set("]0;evil2J")
    return code, told


def write(folder: Path, lines: list[str], **space: Any) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump(handmade.study(**space)))
    (folder / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def records(harm: Harm) -> list[str]:
    """The lines of four trials, of which the second was harmed."""
    plain_records = [copy.deepcopy(asdict(record)) for record in handmade.searched(4)]
    harm(plain_records[1])
    return [json.dumps(record) for record in plain_records]


REFUSED = {
    "infinite": put("metrics", "ua", value=float("inf")),
    "huge": put("metrics", "ra", value=HUGE),
    "huge inside": put("replicates", 0, "details", "counts", "forget", value=HUGE),
    "text for number": put("replicates", 0, "details", "attack", "report", "auc_high", value=EVIL),
    "list for mapping": put("replicates", 0, "details", value=[EVIL]),
    "mapping for text": put("cell", "dataset", value={EVIL: EVIL}),
    "a path": put("trial", value="../../../tmp/x-0001"),
    "an escaped id": put("trial", value=f"{EVIL}-0001"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_study_writes_is_refused_with_its_line(name, tmp_path, capsys) -> None:
    folder = write(tmp_path, records(REFUSED[name]))
    code, told = shown(["status", str(folder)], capsys)
    assert code == 2
    assert "ledger.jsonl:2:" in "".join(told.split())


SHOWN = {
    "reason": lambda record: record.update(status="failed", reason=EVIL, metrics={}, report={}, replicates=[]),
    "params": put("params", "targets", value=EVIL),
    "params by name": put("params", EVIL, value=EVIL),
    "host": put("provenance", "host", value=EVIL),
    "forget": put("replicates", 0, "forget", value=EVIL),
    "dataset": put("cell", "dataset", value=EVIL),
    "device": put("cost", "device", value=EVIL),
}


def test_what_it_says_is_text_in_terminal_and_report(tmp_path, capsys) -> None:
    plain_records = [copy.deepcopy(asdict(record)) for record in handmade.searched(len(SHOWN) + 1)]
    for harm, record in zip(SHOWN.values(), plain_records[1:], strict=False):
        harm(record)
    folder = write(tmp_path, [json.dumps(record) for record in plain_records], study="handmade " + EVIL)
    code, told = shown(["status", str(folder)], capsys)
    assert code == 0
    assert "evil" in told
    code, told = shown(["report", str(folder), "-o", str(tmp_path / "report.html")], capsys)
    assert code == 0, told
    text = (tmp_path / "report.html").read_text()
    assert "alert(1)" in text
    assert "<script>alert(1)" not in text


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"schema": 1, "trial": ' + "[" * 900 + "]" * 900 + "}",
        "\x00\x01",
        '{"schema": 1e999}',
        '{"schema": ' + "9" * 5000 + "}",
        "null",
        '"' + "x" * 2_000_000 + '"',
    ],
    ids=["deep", "deep inside", "binary", "infinite", "long number", "null", "long"],
)
def test_lines_that_are_no_records(line, tmp_path, capsys) -> None:
    lines = records(lambda record: None)
    folder = write(tmp_path, [lines[0], line, *lines[2:]])
    code, told = shown(["status", str(folder)], capsys)
    assert code == 2
    assert len(told) < 2000


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "once aliases are written out"),
        ("study: " + "[" * 1200 + "]" * 1200, "nested"),
        ("a: &a [*a]", "contains itself"),
        ("study: !!python/object/apply:os.system [id]", "unexpected tag"),
        ("study: x\n" + "# \n" * 600_000, "larger than"),
        ("include: ../../../../etc/passwd", "leaves the folder"),
        ("study: ../../escape\ndatasets: [digits]", "study"),
        (f'study: "{EVIL.encode("unicode_escape").decode()}"', "study"),
        ('study: x\ndatasets: ["imagefolder:../../\\e]0;evil\\a"]', "imagefolder"),
    ],
)
def test_spaces_that_were_made_to_harm(text, said, tmp_path, capsys) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    code, told = shown(["check", str(file)], capsys)
    assert code == 2
    assert said in " ".join(told.split())


def test_a_study_yaml_that_was_made_to_harm(tmp_path, capsys) -> None:
    folder = write(tmp_path, records(lambda record: None))
    for text in (BOMB, "[" * 1200, "- 1", f"study: {{{{}}}}\n{STEERING}", "!!python/object/apply:os.system [id]"):
        (folder / "study.yaml").write_text(text)
        for command in ("status", "report"):
            assert shown([command, str(folder)], capsys)[0] == 2


def test_plain_text_keeps_letters_lines_and_tabs() -> None:
    assert plain("naïve 日本\ta\nb\r\nc") == "naïve 日本\ta\nb\nc"
    assert "\x1b" not in plain(EVIL)
    assert "script" in plain(EVIL)
