"""What of the benchmarks does not need their minutes: their command lines, what they compare, what they count."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from benchmarks import limit, staged, trials_per_hour
from benchmarks.cost import PACE_BF16, seconds_a_pass
from benchmarks.trials_per_hour import Turn, cpu_seconds, differences, drawn_space, name_of, ratios
from neglora.artifacts import ArtifactStore
from neglora.evaluation import infer
from neglora.methods import METHODS
from neglora.models import build_model
from neglora.prerequisites import base_of, ensure
from neglora.record import Record, trial_id
from neglora.session import Session
from neglora.setting import Setting
from neglora.trial import Task, run_trial
from study.space import load_space

ROOT = Path(__file__).parent.parent
WITH_OPTIONS = [file for file in sorted((ROOT / "benchmarks").glob("*.py")) if "ArgumentParser(" in file.read_text()]


def test_benchmarks_with_options_are_found() -> None:
    assert len(WITH_OPTIONS) >= 5


@pytest.mark.parametrize("file", WITH_OPTIONS, ids=lambda file: file.stem)
def test_every_benchmark_says_how_it_is_called(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [file.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(file), run_name="__main__")
    assert ended.value.code == 0
    assert f"usage: {file.name}" in capsys.readouterr().out


# Trials per hour


def test_configurations_are_what_a_user_would_try(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(drawn_space(48)))
    cells = {cell.method: cell for cell in load_space(file).cells() if cell.method != "retrain"}
    quickstart = yaml.safe_load(trials_per_hour.QUICKSTART.read_text())["methods"]
    assert cells.keys() == quickstart.keys()
    for method, cell in cells.items():
        assert (cell.trials, len(cell.configurations), cell.dimensions) == (16, 16, {})
        assert len({name_of(method, params) for params in cell.configurations}) == 16
        for name, setting in quickstart[method].items():
            drawn = Counter(params[name] for params in cell.configurations)
            if isinstance(setting, list):
                assert drawn.keys() == set(setting)
                assert max(drawn.values()) - min(drawn.values()) <= 1
            elif isinstance(setting, dict):
                assert all(float(setting["log"][0]) <= value <= float(setting["log"][1]) for value in drawn)


def test_configurations_follow_from_the_seed() -> None:
    assert drawn_space(9) == drawn_space(9)
    assert drawn_space(9) != drawn_space(9, seed=1)


def measured(ua: float, ra: float, mia: float) -> dict[str, Any]:
    half = {"ua": ua, "ra": ra, "ta": 0.5, "mia": mia, "mia_has_signal": True}
    counts = {"forget": 100, "retain": 1000, "test": 200, "test_report": 210}
    return {"selection": dict(half), "report": dict(half), "counts": counts}


def test_differences_are_the_largest_over_trials_in_images_too() -> None:
    user = {"a": measured(1.0, 0.9, 0.5), "b": measured(0.5, 0.9, 0.5)}
    ours = {"a": measured(1.0, 0.901, 0.5), "b": measured(0.48, 0.902, 0.5)}
    found = differences(user, ours)
    assert found["selection ua"] == {
        "trials": 2,
        "from": 0.5,
        "to": 1.0,
        "share": pytest.approx(0.02),
        "images": 2.0,
        "differ": 1,
    }
    ra, ta = found["selection ra"], found["report ta"]
    assert (ra["share"], ra["images"], ra["differ"]) == (pytest.approx(0.002), 2.0, 2)
    assert (ta["share"], ta["images"], ta["differ"]) == (0.0, 0.0, 0)
    assert found["report mia_full"] == {"trials": 0}


def test_a_trial_that_is_missing_on_one_side_is_an_error_and_no_match() -> None:
    with pytest.raises(KeyError):
        differences({"a": measured(1.0, 0.9, 0.5)}, {})


def test_ratios_go_turn_by_turn() -> None:
    def turn(side: str, wall: float, startup: float, cpu: float | None) -> Turn:
        return Turn(side, wall, startup, cpu, 0.0, {}, {})

    turns = [
        turn("user", 100, 10, 80),
        turn("prefix", 20, 5, 10),
        turn("user", 90, 10, 80),
        turn("prefix", 30, 10, None),
    ]
    expected = {"wall": [5.0, 3.0], "without start-up": [6.0, 4.0], "CPU seconds": [8.0]}
    assert ratios(turns, "prefix", "user") == expected


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="CPU seconds are read from /proc")
def test_cpu_seconds_are_those_of_a_session() -> None:
    command = [sys.executable, "-c", "sum(range(3_000_000)); print('done', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = cpu_seconds(process.pid)
        process.communicate(b"\n")
    assert found.keys() == {process.pid}
    assert 0 < found[process.pid] < 60
    assert cpu_seconds(process.pid) == {}


@pytest.mark.grid
def test_the_script_measures_what_a_trial_measures(tmp_path: Path) -> None:
    """An implementation of its own agrees with `neglora.trial` on all three methods, dense and sparse."""
    from benchmarks.as_a_user_would import unlearn_and_measure

    torch.set_num_threads(1)
    training = {"epochs": 2, "warmup_epochs": 1, "recovery_epochs": 1}
    setting = Setting(dataset="digits", model="tinyvit_nano", training=training, holdout=0.5, prefix_gib=0.0)
    dataset, store = setting.load_dataset(), ArtifactStore(tmp_path / "artifacts")
    bases = {level: ensure(base_of(setting, 0, level), store, dataset) for level in (0.0, 0.9)}
    plan = {"dataset": "digits", "model": "tinyvit_nano", "forget": 3, "seed": 0, "holdout": 0.5, "split_seed": 0}
    files = {str(level): str(store.root / base.key / "weights.safetensors") for level, base in bases.items()}
    plan |= {"batch_size": setting.batch_size, "bases": files}
    session = Session(tmp_path)
    chosen: dict[str, dict[str, Any]] = {
        "neggrad": {"lr": 1e-4, "epochs": 2, "sparsity": 0.9},
        "partial_neggrad": {"lr": 1e-3},
        "neglora": {"lr": 1e-2, "rank": 4, "epochs": 2, "targets": "last.attn_out+head", "sparsity": 0.9},
    }
    for method, own in chosen.items():
        params = METHODS[method].resolve(own)
        cell = {"dataset": "digits", "model": "tinyvit_nano", "method": method}
        record = run_trial(session, Task(f"{method}-0000", cell, params, setting, ((3, 0),)))
        script = unlearn_and_measure({"plan": plan, "configuration": {"method": method, "params": params}})
        assert record.status == "ok"
        assert record.metrics["ua"] not in (None, 0.0)
        for half, values in (("selection", record.metrics), ("report", record.report)):
            for name, value in script[half].items():
                tolerance = 0.005 if name.startswith("mia") else 0.0
                assert values[name] == pytest.approx(value, abs=tolerance), (method, half, name)


# The limit


@pytest.fixture(scope="module")
def nano() -> nn.Module:
    return build_model("tinyvit_nano", num_classes=10, image_size=32, channels=3, seed=0)


def counts_of(model: nn.Module, method: str, **params: Any) -> limit.PerImage:
    return limit.per_image(model, torch.randn(2, 3, 32, 32), method, METHODS[method].resolve(params))


def test_a_forward_pass_counts_as_it_does_on_the_meta_device(nano: nn.Module) -> None:
    counted = counts_of(nano, "neggrad").forward
    assert counted == pytest.approx(seconds_a_pass("digits", "tinyvit_nano", {}) * PACE_BF16)


def test_full_ascent_counts_forward_and_twice_as_much_backward(nano: nn.Module) -> None:
    each = counts_of(nano, "neggrad")
    assert each.rest == each.forward
    # The first layer needs no gradient of its inputs.
    assert 2.5 * each.forward < each.ascent <= 3 * each.forward


def test_adapters_of_the_last_layers_need_less(nano: nn.Module) -> None:
    last, all_of_them = (counts_of(nano, "neglora", rank=4, targets=targets) for targets in ("last.ffn", "ffn"))
    assert last.forward == all_of_them.forward
    assert last.rest < all_of_them.rest <= all_of_them.forward
    assert last.ascent < all_of_them.ascent < counts_of(nano, "neggrad").ascent


def test_counting_leaves_the_model_alone(nano: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in nano.state_dict().items()}
    counts_of(nano, "neglora", rank=4, targets="last.ffn")
    assert all(torch.equal(before[name], tensor) for name, tensor in nano.state_dict().items())
    assert infer(nano, [(torch.randn(1, 3, 32, 32), torch.tensor([0]))]).logits.shape == (1, 10)


def test_unlearning_counts_the_prefix_once() -> None:
    assert limit.PerImage(forward=10, rest=4, ascent=9).unlearning(100, 2) == 100 * (6 + 2 * 9)


def test_kinds_of_operations_add_up(nano: nn.Module) -> None:
    found = limit.kinds_of(nano, torch.randn(2, 3, 32, 32), repeats=1)
    counted = sum(one["operations"] for one in found.values())
    assert counted == pytest.approx(2 * counts_of(nano, "neggrad").forward)
    assert found[limit.MATRICES]["operations"] > 0
    assert found[limit.DEPTHWISE]["operations"] > 0
    assert found[limit.OTHER]["operations"] == 0


# Staged


def lines_of(number: int, ra: float, low: float, high: float) -> tuple[Record, Record]:
    """A trial as the search saw it, with bounds for RA, and in full."""
    cell = {"dataset": "digits", "model": "tinyvit_nano", "method": "neglora"}
    truth = {"ua": 0.5, "ra": ra, "ta": 0.5, "mia": 0.5, "gap": 1 - ra}
    bounds = {name: [0.5, 0.5] for name in ("ua", "ta", "mia")} | {"ra": [low, high]}
    item = {"forget": 3, "seed": 0, "status": "ok", "metrics": truth, "details": {"intervals": bounds}}
    cost = {"unlearn_seconds": 1.0, "evaluate_seconds": 2.0}
    line = Record(trial_id(cell, number), cell, {"epochs": 1}, "ok", metrics=truth, replicates=[item], cost=cost)
    seen = truth | {"ra": (low + high) / 2}
    return Record(**(vars(line) | {"fidelity": "search", "metrics": seen})), line


def test_fronts_are_equal_where_the_truth_lies_within_its_bounds() -> None:
    searched, in_full = zip(*(lines_of(n, ra, ra - 0.1, ra + 0.1) for n, ra in enumerate((0.9, 0.5, 0.7))), strict=True)
    found = staged.compare(7, searched, in_full)
    assert (found.seed, found.trials, found.on_fronts, found.confirmed) == (7, 3, 3, 3)
    assert (found.equal, found.recommended) == (True, True)
    assert found.within == {"ra": 3, "ta": 3, "mia": 3}
    assert (found.in_full, found.staged) == (9.0, 18.0)


def test_fronts_differ_where_the_best_one_looked_worse_than_it_is() -> None:
    lines = [lines_of(0, 0.9, 0.1, 0.2), lines_of(1, 0.5, 0.4, 0.6)]
    # All that is level in TA and MIA is on those fronts: here the best one is behind there too.
    for line in lines[0]:
        line.metrics.update(ta=0.4, mia=0.4)
        line.replicates[0]["details"]["intervals"].update(ta=[0.4, 0.4], mia=[0.4, 0.4])
    searched, in_full = zip(*lines, strict=True)
    found = staged.compare(0, searched, in_full)
    best, other = (record.trial for record in in_full)
    assert found.differing == {"neglora ua ra": [[best], [other]]}
    assert (found.confirmed, found.recommended) == (1, False)
    assert found.within == {"ra": 1, "ta": 2, "mia": 2}
    assert staged.summary([found])["equal"] == 0
