"""Reading a search space's file: what is no file, no YAML, or no data of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from study.space import Problem, SpaceError, load_space
from study.space.document import MOST_BYTES, read_mapping
from study.space.problems import Findings


def failing(text: str) -> Problem:
    with pytest.raises(SpaceError) as caught:
        read_mapping(text, Findings("a.yaml"))
    (problem,) = caught.value.problems
    return problem


def load_problem(path: Path) -> Problem:
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    (problem,) = caught.value.problems
    assert problem.source == str(path)
    return problem


def test_a_missing_file(tmp_path: Path) -> None:
    assert load_problem(tmp_path / "no.yaml").message == "there is no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert load_problem(tmp_path).message == "expected a YAML file, got a folder"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"study: a\ndatasets: \xff\n")
    problem = load_problem(path)
    assert (problem.line, problem.message) == (2, "expected UTF-8 text, got the byte 0xff")


@pytest.mark.parametrize("raw", [b"", b"# nothing but a comment\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(raw)
    assert load_problem(path).message.startswith("is empty")


def test_a_file_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * (MOST_BYTES + 1))
    assert "no search space" in load_problem(path).message


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{inner}'] * 8)}]\n" for inner, name in zip("abcdefg", "bcdefgh", strict=True)
)
DEEP = "a0: &a0 [1]\n" + "".join(f"a{level + 1}: &a{level + 1} [*a{level}]\n" for level in range(2000))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1", 1, "expected ',' or ']'"),
        ("a: 1\n b: 2", 2, "mapping values are not allowed"),
        ("a: \tb: 1", 1, "not valid YAML"),
        ("a: 1\nb: \x07", 2, "the character 7 is not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("[a, b]", None, "expected a mapping that begins with 'study: NAME', got ['a', 'b']"),
        ("text", None, "got 'text'"),
        ("a: !!python/object/apply:os.system [ls]", 1, "unexpected tag"),
        ("a: !mine 3", 1, "unexpected tag '!mine'"),
        ("a: !!int x", 1, "cannot read 'x' as int"),
        ("a: 2026-13-45", 1, "quotes make it a text"),
        ("a: " + "9" * 5000, 1, "as int"),
        ("? [a]\n: 1", 1, "a key should be a text"),
        ("a: *b", 1, "undefined alias"),
        ("a: &a [*a]", 1, "contains itself"),
        ("<<: 3", 1, "merging"),
        ("[" * 500, None, "nested too deeply"),
        (BOMB, 6, "more than 50,000 values"),
        (DEEP, 30, "more than 30 levels"),
        ("a: {b: &b [" + "[" * 30 + "]" * 30 + "]}", 1, "more than 30 levels"),
    ],
)
def test_what_is_no_search_space(text: str, line: int | None, message: str) -> None:
    problem = failing(text)
    assert message in problem.message
    assert problem.line == line


@pytest.mark.parametrize(
    "text",
    [
        "study: a\nlist: [1, 1.5, true, null, text, '3', 1e-5, 2026-01-02]\n",
        "base: &base {lr: 1, rank: 2}\nown: {<<: *base, rank: 4}\nagain: *base\n",
        "first: &f {a: 1, b: 2}\nsecond: &s {b: 3, c: 4}\nboth: {<<: [*f, *s], d: 5}\n",
        "a: ''\nb:\nc: {}\nd: []\n",
    ],
)
def test_what_is_read_is_what_yaml_says(text: str) -> None:
    findings = Findings("a.yaml")
    assert read_mapping(text, findings) == yaml.safe_load(text)
    assert findings.problems == []


def test_lines() -> None:
    findings = Findings("a.yaml")
    read_mapping("a: 1\nb:\n  c: [1,\n    2]\n  d:\n  - x\n  - y: 3\n", findings)
    assert {mark.source for mark in findings.marks.values()} == {"a.yaml"}
    assert {place: mark.line for place, mark in findings.marks.items()} == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
        ("b", "d", 1): 7,
        ("b", "d", 1, "y"): 7,
    }


def test_keys_given_twice_and_keys_that_are_no_texts() -> None:
    findings = Findings("a.yaml")
    read_mapping("a: 1\nb: {c: 1, c: 2}\na: 3\n4: x\nyes: y\n", findings)
    assert [(problem.path, problem.line, problem.message) for problem in findings.problems] == [
        ("a", 3, "given twice, first on line 1"),
        ("b.c", 2, "given twice, first on line 2"),
        ("4", 4, "expected a text as key, got 4; quote it"),
        ("True", 5, "expected a text as key, got true; quote it"),
    ]
