"""What the tree must not hold: ways to run what a file says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Calls that run, or may run, what they are given.
RUNS = {
    *("eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads"),
    *("dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "os.system"),
    *("torch.hub.load", "numpy.lib.format.read_array"),
}
#: A pickle that is read by an unpickler of a handful of instructions, which knows no name but that of numpy's arrays.
ALLOWED = {("neglora/data/unpickle.py", "pickle.Unpickler")}


def sources() -> list[Path]:
    found = [file for folder in ("neglora", "study", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > 150
    return found


def named(node: ast.expr, aliases: dict[str, str]) -> str:
    """`yaml.load` of what is called, whatever it is imported as."""
    if isinstance(node, ast.Attribute):
        return f"{named(node.value, aliases)}.{node.attr}"
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> dict[str, str]:
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                one.asname or one.name.split(".")[0]: one.name if one.asname else one.name.split(".")[0]
                for one in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            aliases |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return aliases


def dangers(text: str) -> Iterator[str]:
    """What a source calls, or has as a base class, that runs what it is given."""
    tree = ast.parse(text)
    aliases = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, options = named(node.func, aliases), {each.arg: each.value for each in node.keywords}
            if name in RUNS:
                yield name
            only = options.get("weights_only")
            if name == "torch.load" and not (isinstance(only, ast.Constant) and only.value is True):
                yield name
            pickles = options.get("allow_pickle")
            if pickles is not None and not (isinstance(pickles, ast.Constant) and pickles.value is False):
                yield "allow_pickle"
            shell = options.get("shell")
            if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
                yield "shell"
        elif isinstance(node, ast.ClassDef):
            yield from (named(base, aliases) for base in node.bases if named(base, aliases) in RUNS)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "from torch import load as read\nread(f)",
        "import yaml as y\ny.load(f, Loader=y.SafeLoader)",
        "import pickle\nclass A(pickle.Unpickler): pass",
        "import numpy\nnumpy.load(f, allow_pickle=True)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "eval(x)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(dangers(text))


def test_nothing_runs_what_a_file_says() -> None:
    found = {(file.relative_to(ROOT).as_posix(), name) for file in sources() for name in dangers(file.read_text())}
    assert found == ALLOWED
