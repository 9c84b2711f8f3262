"""Models on the line from a base to its full ascent: what is merged by itself, exact ends, the forget set alone."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from neglora.ascend import Diverged
from neglora.evaluation import evaluate_outputs, infer_dataset
from neglora.kept import adapter_file, kept_adapter
from neglora.line import ScaleError, line_of, recorded_scale
from neglora.lora import attach, merge
from neglora.methods import METHODS
from neglora.prerequisites import base_of, ensure
from neglora.replicate import run_replicate
from neglora.reproduce import reproduce_along
from neglora.session import Session
from neglora.sweep import measure_at
from neglora.trial import run_trial
from tests.neglora.conftest import FORGET
from tests.neglora.tasks import task

#: A sparsity at which the small base still sees something.
HALF = 0.5
NEGLORA = {"lr": 1e-2, "rank": 4, "targets": "last.conv+head"}
KINDS = {
    "neglora": ("neglora", NEGLORA),
    "neglora, masked": ("neglora", NEGLORA | {"lr": 1e-1, "sparsity": HALF, "merge": "masked"}),
    "neglora, statistics let go": ("neglora", NEGLORA | {"lr": 1e-1, "batchnorm": "update"}),
    "partial_neggrad": ("partial_neggrad", {"lr": 1e-3}),
    "neggrad": ("neggrad", {"lr": 1e-3, "sparsity": HALF}),
    "neggrad, statistics let go": ("neggrad", {"lr": 1e-3, "batchnorm": "update"}),
}
SCALES = (0.0, 0.25, 0.7, 1.0)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def storage(storage, setting, tiny, tmp_path_factory):
    """The storage with a base of half the weights."""
    own = tmp_path_factory.mktemp("half") / "storage"
    shutil.copytree(storage, own)
    ensure(base_of(setting, 0, HALF), Session(own).store, tiny)
    return own


@pytest.fixture(scope="module")
def session(storage):
    return Session(storage)


@pytest.fixture(params=KINDS)
def kind(request, session, setting, tmp_path):
    """Method, resolved parameters with retraction, the recorded replicate, and the kept adapter."""
    method, params = KINDS[request.param]
    plan = replace(task(setting, method, retract=0.9, **params), keep=str(tmp_path))
    record = run_trial(session, plan)
    assert record.status == "ok"
    [replicate] = record.replicates
    adapter = kept_adapter(adapter_file(tmp_path, record.trial, FORGET, 0))
    assert (adapter is None) == (method != "neglora")
    return method, record.params, replicate, adapter


@pytest.mark.parametrize("with_adapter", [True, False])
def test_its_ends_are_the_base_and_the_unretracted_model(storage, session, setting, kind, with_adapter):
    method, params, replicate, adapter = kind
    line = line_of(Session(storage), setting, method, params, replicate, adapter if with_adapter else None)
    assert line.from_kept == (with_adapter and adapter is not None and params["batchnorm"] == "frozen")
    base = session.get(base_of(setting, 0, params["sparsity"]))
    _, whole = run_replicate(session, setting, method, {**params, "retract": None}, FORGET, 0)
    assert whole.retraction is None
    for scale, model in ((1.0, whole.model), (0.0, base.model), (0.5, None), (1.0, whole.model), (0.0, base.model)):
        moved = line.at(scale)
        assert not moved.training
        assert model is None or same(moved, model)
    assert not same(whole.model, base.model)


def test_its_points_are_what_is_made_by_itself(session, setting, kind):
    method, params, replicate, adapter = kind
    base = session.get(base_of(setting, 0, params["sparsity"]))
    _, whole = run_replicate(session, setting, method, {**params, "retract": None}, FORGET, 0)
    line = line_of(session, setting, method, params, replicate, adapter)
    for scale in SCALES:
        if method == "neglora":
            masks = base.masks if params["merge"] == "masked" else None
            alone = merge(attach(copy.deepcopy(base.model), replace(adapter, scale=scale)), masks).eval()
            between = {name for name, _ in alone.named_buffers()}
        else:
            alone = copy.deepcopy(base.model)
            between = set(alone.state_dict())
        ends = base.model.state_dict(), whole.model.state_dict()
        with torch.no_grad():
            for name, tensor in alone.state_dict().items():
                if name in between and tensor.is_floating_point():
                    tensor.copy_((1 - scale) * ends[0][name] + scale * ends[1][name])
        expected = infer_dataset(alone, session.dataset(setting), setting.batch_size)
        found = line.outputs(scale)
        for part in ("train", "test"):
            logits = [getattr(outputs, part).logits for outputs in (found, expected)]
            assert torch.allclose(*logits, atol=1e-5, rtol=1e-5)
        point = measure_at(line, scale, None)
        values = evaluate_outputs(expected, line.splits, seed=0, attacks=setting.attacks)
        for mine, its in ((point.metrics, values.metrics), (point.report, values.report)):
            assert {name: value for name, value in mine.items() if name not in ("gap", "tow")} == pytest.approx(
                its, abs=1e-5
            )
    for name, mask in base.masks.items():
        assert params.get("merge") == "dense" or not line.at(0.3).state_dict()[name][~mask.bool()].any()


def test_at_its_recorded_scale_it_measures_as_its_record(session, setting, kind):
    method, params, replicate, adapter = kind
    scale = recorded_scale(replicate)
    assert scale == replicate["details"]["retraction"]["scale"]
    assert 0 < scale <= 1
    made, details = reproduce_along(line_of(session, setting, method, params, replicate, adapter), scale)
    for half, measured in (("metrics", made.metrics), ("report", made.report)):
        assert len(measured) > 5
        assert {name: replicate[half][name] for name in measured} == measured
    assert details["loss_after"] == replicate["details"]["loss_after"]
    assert details["sparsity"]["merged"] == replicate["details"]["sparsity"]["merged"]
    assert (made.adapter is None) == (adapter is None)
    assert adapter is None or made.adapter.scale == adapter.scale == scale


@pytest.mark.parametrize("method", ["neglora", "partial_neggrad", "neggrad"])
def test_the_ascent_is_given_the_forget_set_alone(session, setting, monkeypatch, method):
    params = METHODS[method].resolve(
        {"lr": 1e-3, "retract": 0.9} | ({"targets": "head"} if method == "neglora" else {})
    )
    replicate, _ = run_replicate(session, setting, method, params, FORGET, 0)
    given = []

    def unlearn(model, *, params, masks, seed, **data):
        given.append(data)
        assert params["retract"] is None
        return plain(model, params=params, masks=masks, seed=seed, **data)

    plain = METHODS[method].unlearn
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], unlearn=unlearn))
    line_of(session, setting, method, params, replicate, None)
    [data] = given
    assert set(data) == {"forget"}
    labels = torch.cat([labels for _, labels in data["forget"]])
    assert labels.tolist() == [FORGET] * int(
        line_of(session, setting, method, params, replicate, None).splits.counts["forget"]
    )


def test_a_forget_set_at_random_has_a_line_too(session, setting):
    params = METHODS["neglora"].resolve(NEGLORA)
    replicate = {"forget": {"random": 0.1, "seed": 0}, "seed": 0, "details": {}}
    assert recorded_scale(replicate) == 1
    assert measure_at(line_of(session, setting, "neglora", params, replicate, None), 1.0, None).metrics["ua"] > 0


def test_where_logits_are_not_finite_nothing_is_said_but_that(session, setting):
    """One step to weights that are finite, from which nothing finite follows."""
    params = METHODS["neglora"].resolve(NEGLORA | {"lr": 1e30, "batch_size": 64})
    line = line_of(session, setting, "neglora", params, {"forget": FORGET, "seed": 0, "details": {}}, None)
    point = measure_at(line, 1.0, {"metrics": {"ua": 1.0}, "report": {"ua": 1.0}})
    assert (point.metrics, point.report, point.reason) == ({}, {}, "the model's logits are not finite")
    with pytest.raises(ScaleError, match="choose a smaller one"):
        reproduce_along(line, 1.0)
    assert measure_at(line, 0.0, None).reason is None


@pytest.mark.parametrize("scale", [-0.1, 1.5, float("nan")])
def test_a_scale_that_there_is_not(session, setting, scale):
    params = METHODS["neglora"].resolve(NEGLORA)
    replicate = {"forget": FORGET, "seed": 0, "details": {"retraction": {"scale": scale}}}
    line = line_of(session, setting, "neglora", params, replicate, None)
    with pytest.raises(ScaleError, match=r"lies in \[0, 1\]"):
        line.at(scale)
    with pytest.raises(ScaleError, match=r"lies in \[0, 1\]"):
        recorded_scale(replicate)


def test_what_has_no_line_is_refused(session, setting):
    replicate = {"forget": FORGET, "seed": 0, "details": {}}
    with pytest.raises(ScaleError, match="no update"):
        line_of(session, setting, "retrain", {}, replicate, None)
    diverging = METHODS["neglora"].resolve(NEGLORA | {"lr": 1e30, "epochs": 4})
    with pytest.raises(Diverged):
        line_of(session, setting, "neglora", diverging, replicate, None)
    with pytest.raises(LookupError, match="is missing"):
        line_of(session, setting, "neglora", METHODS["neglora"].resolve(NEGLORA), {**replicate, "seed": 9}, None)
