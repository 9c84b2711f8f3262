"""`include`: what stands on what, every mistake with the file and line that it is in, and no way out of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.space import Problem, SpaceError, load_space, parse_space, space_schema
from study.space.document import MOST_BYTES
from study.space.including import MOST_FILES, MOST_LEVELS, read_space
from study.space.problems import Findings

BASE = """\
datasets: [digits]
models: [tinyvit_nano]
replicates: {forget: [3], seeds: [0]}
search: {sampler: random, trials: 4}
methods:
  neggrad:
    lr: {log: [1.0e-5, 1.0e-3]}
    epochs: [1, 2]
  neglora:
    rank: [4, 8]
"""


def write(folder: Path, **files: str) -> Path:
    """Files by name, `a` for `a.yaml` and `blocks__a` for `blocks/a.yaml`; the first is the one that is read."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / f"{next(iter(files))}.yaml"


def plain_of(folder: Path, **files: str) -> dict[str, Any]:
    path = write(folder, **files)
    findings = Findings(str(path))
    plain = read_space(path, findings)
    findings.raise_any()
    return plain


def problems_of(folder: Path, **files: str) -> list[tuple[str, str, int | None, str]]:
    """Every problem of a space: file within the folder, place, line and message."""
    with pytest.raises(SpaceError) as caught:
        load_space(write(folder, **files))
    return [
        (str(Path(one.source).relative_to(folder)), one.path, one.line, one.message) for one in caught.value.problems
    ]


def only_problem(folder: Path, **files: str) -> tuple[str, str, int | None, str]:
    (problem,) = problems_of(folder, **files)
    return problem


def test_a_file_stands_on_another_and_says_the_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        top="study: top\ninclude: blocks/base.yaml\nsearch: {trials: 9}\nmethods: {neggrad: {epochs: 3}}\n",
        blocks__base=BASE,
    )
    space = load_space(path)
    assert (space.study, space.search.sampler, space.search.trials) == ("top", "random", 9)
    assert space.methods["neggrad"]["lr"] == {"log": [1e-5, 1e-3]}
    assert space.methods["neggrad"]["epochs"] == 3
    assert space.methods["neglora"]["rank"] == [4, 8]
    whole = yaml.safe_load(BASE) | {"study": "top"}
    whole["search"]["trials"] = 9
    whole["methods"]["neggrad"]["epochs"] = 3
    assert parse_space(yaml.safe_dump(whole), "whole.yaml") == space
    assert "include" not in space.resolved()


def test_mappings_merge_and_everything_else_is_replaced(tmp_path: Path) -> None:
    assert plain_of(
        tmp_path,
        a="include: b.yaml\nm: {x: 1, deep: {y: 2}}\nlist: [3]\nnone:\nto_text: text\nto_map: {k: 1}\n",
        b="m: {x: 0, z: 0, deep: {w: 0}}\nlist: [1, 2]\nnone: {k: 1}\nto_text: {k: 1}\nto_map: text\nown: 1\n",
    ) == {
        "m": {"x": 1, "z": 0, "deep": {"y": 2, "w": 0}},
        "list": [3],
        "none": None,
        "to_text": "text",
        "to_map": {"k": 1},
        "own": 1,
    }


def test_a_range_is_one_value(tmp_path: Path) -> None:
    files = {"a": "include: b.yaml\nm: {lr: {uniform: [0, 1]}}\n", "b": "m: {lr: {log: [1, 2]}, rank: 2}\n"}
    assert plain_of(tmp_path, **files) == {"m": {"lr": {"uniform": [0, 1]}, "rank": 2}}


def test_later_includes_win_over_earlier_and_includes_may_include(tmp_path: Path) -> None:
    assert plain_of(
        tmp_path,
        a="include: [b.yaml, c/c.yaml]\nx: a\n",
        b="x: b\ny: b\nz: b\n",
        c__c="include: [d.yaml]\ny: c\n",
        c__d="y: d\nw: d\nz: d\n",
    ) == {"x": "a", "y": "c", "z": "d", "w": "d"}


def test_one_block_may_be_reached_twice_and_an_empty_list_is_none(tmp_path: Path) -> None:
    files = {"b": "include: d.yaml\n", "c": "include: d.yaml\n", "d": "include: []\nx: 1\n"}
    assert plain_of(tmp_path, a="include: [b.yaml, c.yaml]\n", **files) == {"x": 1}


def test_mistakes_are_told_where_they_are_written(tmp_path: Path) -> None:
    top = "study: a\ninclude: blocks/base.yaml\nmodels: [tinyvit_nan]\n"
    top += "search:\n  trials: 0\nmethods: {neglora: {rank: 0}}\n"
    base = (
        BASE.replace("digits", "digit").replace("epochs: [1, 2]", "epochs: [1, 0]").replace("forget: [3]", "forgt: [3]")
    )
    found = [problem[:3] for problem in problems_of(tmp_path, top=top, blocks__base=base)]
    assert found == [
        ("top.yaml", "models[0]", 3),
        ("top.yaml", "search.trials", 5),
        ("top.yaml", "methods.neglora.rank", 6),
        ("blocks/base.yaml", "datasets[0]", 1),
        ("blocks/base.yaml", "replicates.forget", 3),
        ("blocks/base.yaml", "replicates.forgt", 3),
        ("blocks/base.yaml", "methods.neggrad.epochs[1]", 8),
    ]


def test_what_no_file_says_is_missing_from_the_file_itself(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, top="include: blocks/base.yaml\n", blocks__base=BASE)
    assert problem[:3] == ("top.yaml", "study", None)


def test_a_place_that_is_replaced_is_no_longer_that_of_the_block(tmp_path: Path) -> None:
    top = "study: a\ninclude: base.yaml\nreplicates:\n  forget: [3, 4, 12]\n"
    base = BASE.replace("forget: [3]", "forget: [1, 2, 3, 4]")
    assert only_problem(tmp_path, top=top, base=base)[:3] == ("top.yaml", "replicates.forget[2]", 4)


@pytest.mark.parametrize(
    ("include", "place", "message"),
    [
        ("3", "include", "expected the name of a file, or a list of such, got 3"),
        ("''", "include", "expected the name of a file"),
        ("{a: b}", "include", "expected the name of a file"),
        ("[base.yaml, [b]]", "include[1]", "expected the name of a file"),
        ("/etc/hostname", "include", "expected a path relative to this file, got '/etc/hostname'"),
        ("../outside.yaml", "include", "'../outside.yaml' leaves the folder of the search space"),
        ("blocks/../../outside.yaml", "include", "leaves the folder"),
        ("link.yaml", "include", "leaves the folder"),
        ("[base.yaml, absent.yaml]", "include[1]", "there is no file 'absent.yaml' beside top.yaml"),
        ("top.yaml", "include", "includes lead back to where they began: top.yaml -> top.yaml"),
        ('"a\\0b"', "include", "expected the name of a file"),
    ],
)
def test_what_cannot_be_included(tmp_path: Path, include: str, place: str, message: str) -> None:
    folder = tmp_path / "spaces"
    folder.mkdir()
    (tmp_path / "outside.yaml").write_text(BASE)
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    source, found, line, told = only_problem(folder, top=f"study: a\n{BASE}include: {include}\n", base=BASE)
    assert (source, found, line) == ("top.yaml", place, 12)
    assert message in told


def test_a_file_that_cannot_be_read_is_named_with_its_own_line(tmp_path: Path) -> None:
    top = f"study: a\n{BASE}include: [x.yaml, y.yaml, z.yaml, folder]\n"
    (tmp_path / "folder").mkdir()
    files = {"x": "a: 1\nb: [1\n", "y": "# nothing\n", "z": "[1, 2]\n"}
    assert [(one[0], one[2], one[3].split(":")[0]) for one in problems_of(tmp_path, top=top, **files)] == [
        ("folder", None, "expected a YAML file, got a folder"),
        ("x.yaml", 3, "not valid YAML"),
        ("y.yaml", None, "is empty"),
        ("z.yaml", None, "expected a mapping of some of a search space's keys, got [1, 2]"),
    ]


def test_a_key_given_twice_in_a_block(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, top="study: a\ninclude: b.yaml\n", b=BASE + "models: [tinyvit_nano]\n")
    assert problem[:3] == ("b.yaml", "models", 11)


def test_includes_that_go_round_are_refused_where_they_close(tmp_path: Path) -> None:
    files = {"a": f"study: a\n{BASE}include: b.yaml\n", "b": "include: c.yaml\n", "c": "x: 1\ninclude: b.yaml\n"}
    told = "includes lead back to where they began: b.yaml -> c.yaml -> b.yaml"
    assert only_problem(tmp_path, **files) == ("c.yaml", "include", 2, told)


def test_only_so_many_levels_and_files(tmp_path: Path) -> None:
    levels = {f"l{n}": f"include: l{n + 1}.yaml\n" for n in range(MOST_LEVELS + 1)} | {f"l{MOST_LEVELS + 1}": "x: 1\n"}
    fine = {name: text for name, text in levels.items() if name != "l0"}
    assert plain_of(tmp_path, **fine) == {"x": 1}
    found = only_problem(tmp_path, **levels)
    assert found[0] == f"l{MOST_LEVELS}.yaml"
    assert f"more than {MOST_LEVELS} files" in found[3]
    many = "include: [" + ", ".join(["b.yaml"] * 10) + "]\n"
    problems = problems_of(tmp_path, a=many, b=many.replace("b.", "c."), c="x: 1\n")
    assert {one[3] for one in problems} == {f"more than {MOST_FILES} included files"}


def test_limits_are_those_of_all_files_together(tmp_path: Path) -> None:
    half = "#" * (MOST_BYTES // 2) + "\n"
    problems = problems_of(tmp_path, a=f"include: [b.yaml, c.yaml]\n{half}", b=f"x: 1\n{half}", c="y: 1\n")
    assert [one[0] for one in problems if f"larger than {MOST_BYTES:,} bytes" in one[3]] == ["b.yaml", "c.yaml"]
    values = f"x: [{', '.join(['1'] * 30_000)}]\n"
    problems = problems_of(tmp_path, a="include: [b.yaml, c.yaml]\n", b=values, c=values)
    assert [one[0] for one in problems if "more than 50,000 values with what else is included" in one[3]] == ["c.yaml"]


def test_a_text_without_a_file_cannot_include() -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space(f"study: a\n{BASE}include: b.yaml\n", "text")
    (problem,) = caught.value.problems
    assert problem == Problem(
        "text", "include", 12, "only a file can include others: a text has no folder that they could lie in"
    )


def test_a_misspelt_include_is_recognized(tmp_path: Path) -> None:
    assert "did you mean 'include'?" in only_problem(tmp_path, top=f"study: a\n{BASE}inclde: b.yaml\n")[3]


def test_editors_ask_for_what_is_required_only_where_nothing_is_included() -> None:
    import jsonschema  # type: ignore[import-untyped]

    schema = space_schema()
    whole = yaml.safe_load(f"study: a\n{BASE}")
    jsonschema.validate(whole, schema)
    jsonschema.validate({"study": "a", "include": "b.yaml", "search": {"seed": 1}}, schema)
    for section, key in (("search", "trials"), ("replicates", "forget")):
        part = whole | {section: {name: value for name, value in whole[section].items() if name != key}}
        with pytest.raises(jsonschema.ValidationError, match=key):
            jsonschema.validate(part, schema)
