from __future__ import annotations

from study.asked import asked_trials
from study.space import parse_space

TEXT = """
study: axes
datasets: [digits]
models: [tinyvit_nano]
replicates: {forget: [3], seeds: [0]}
search: {trials: 4}
axes: {epochs: [1, 2], rank: [2, 4]}
methods:
  neggrad: {lr: {log: [1.0e-5, 1.0e-3]}}
  partial_neggrad: {configurations: [{lr: 0.001}, {lr: 0.002}, {lr: 0.003, epochs: 2}]}
  neglora: {lr: {log: [1.0e-5, 1.0e-3]}, targets: [ffn, last.ffn]}
"""


def test_it_agrees_with_the_cells_of_the_space():
    space = parse_space(TEXT, "axes.yaml")
    cells = {cell.id: cell.trials for cell in space.cells()}
    assert len(cells) == 9
    assert len(set(cells.values())) == 4
    assert asked_trials(space.resolved()) == cells


def test_it_agrees_on_the_quickstart():
    space = parse_space(TEXT.replace("axes: {epochs: [1, 2], rank: [2, 4]}", ""), "plain.yaml")
    assert asked_trials(space.resolved()) == {cell.id: cell.trials for cell in space.cells()}


def test_references_are_left_out_whatever_their_names_are():
    space = parse_space(TEXT, "plain.yaml").resolved() | {"models": ["timm:test_vit"]}
    references = set(asked_trials(space)) - set(asked_trials(space, references=False))
    assert len(references) == len(space["datasets"])
    assert all("-retrain" in name and not name.endswith("-retrain") for name in references)
