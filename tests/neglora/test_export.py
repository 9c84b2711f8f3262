"""An exported folder: what it holds loads without this project's runner, in peft's format, and agrees."""

import json
import re

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from neglora.card import card, card_markdown, intervals, result_of
from neglora.data import ForgetSet, parse_forget
from neglora.export import ExportError, check_folder, write_export
from neglora.intervals import wilson
from neglora.methods import METHODS
from neglora.models import build_model
from neglora.prerequisites import base_of, find
from neglora.replicate import run_replicate
from tests.neglora.conftest import FORGET, SPARSITY

SETTINGS = {"lr": 1e-2, "rank": 4, "targets": "last.conv+head"}


def fresh():
    return build_model("resnet_nano", num_classes=10, image_size=32, channels=3, seed=5)


@pytest.fixture
def export(session, setting):
    """Unlearn, and write what comes out to a folder; the result, card, names and the model."""

    def write(folder, method="neglora", forget=FORGET, **changes):
        settings = (SETTINGS if method == "neglora" else {"lr": 1e-3}) | changes
        params = METHODS[method].resolve(settings)
        replicate, unlearned = run_replicate(session, setting, method, params, forget, 0)
        forget = parse_forget(session.dataset(setting).info, forget)
        base = find(base_of(setting, 0, params["sparsity"]), session.store, session.dataset(setting))
        result = result_of(session, setting, method, params, forget, replicate)
        made = card(
            result,
            setting=setting,
            dataset=session.dataset(setting),
            forget=forget,
            base=base,
            adapter=unlearned.adapter,
            merge=params.get("merge"),
        )
        adapter = unlearned.adapter if params.get("merge") == "dense" else None
        names = write_export(folder, unlearned.model, made, base=base.tensors, adapter=adapter)
        return made, names, unlearned.model

    return write


@pytest.mark.parametrize("sparsity", [0.0, SPARSITY])
def test_base_and_adapter_agree_with_the_merged_weights(export, tiny, tmp_path, sparsity):
    _, names, model = export(tmp_path / "out", sparsity=sparsity)
    assert names == ["model.safetensors", "base.safetensors", "adapter/", "card.json", "README.md"]
    merged, base = fresh(), fresh()
    merged.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    base.load_state_dict(load_file(tmp_path / "out" / "base.safetensors"))
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "out" / "adapter")).eval()
    assert not any(parameter.requires_grad for parameter in adapted.parameters())
    inputs = torch.cat([inputs for inputs, _ in tiny.test(batch_size=60)])
    with torch.no_grad():
        expected, loaded, together = model(inputs), merged(inputs), adapted(inputs)
        with adapted.disable_adapter():
            before = adapted(inputs)
    assert torch.equal(loaded, expected)
    assert (together - expected).abs().max() <= 1e-5
    assert (before - expected).abs().max() > 1e-2
    merged_by_peft = adapted.merge_and_unload()
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in merged_by_peft.state_dict().items())


def test_a_masked_merge_has_no_adapter_and_says_why(export, tmp_path):
    _, names, _ = export(tmp_path / "out", sparsity=SPARSITY, merge="masked")
    assert "adapter/" not in names
    assert not (tmp_path / "out" / "adapter").exists()
    assert "merge: masked" in (tmp_path / "out" / "README.md").read_text()


def test_a_method_without_adapters(export, tmp_path):
    made, names, _ = export(tmp_path / "out", "neggrad")
    assert names == ["model.safetensors", "base.safetensors", "card.json", "README.md"]
    assert made["adapter"] is None
    assert "peft" not in (tmp_path / "out" / "README.md").read_text().split("## Where it comes from")[0]


def test_the_card_says_what_where_from_and_how_sure(export, setting, tiny, tmp_path):
    made, _, _ = export(tmp_path / "out", forget=[3, 5])
    read = json.loads((tmp_path / "out" / "card.json").read_text())
    assert set(read["sha256"]) == {"model.safetensors", "base.safetensors", "adapter/adapter_model.safetensors"}
    assert {name: value for name, value in read.items() if name != "sha256"} == json.loads(json.dumps(made))
    assert read["dataset"]["fingerprint"] == tiny.fingerprint
    assert read["forget"] == {"set": [3, 5], "classes": ["3", "5"], "title": "3 and 5"}
    assert read["params"]["seed"] == 0
    counts = read["details"]["counts"]
    assert read["intervals"]["ra"] == pytest.approx(wilson(read["metrics"]["ra"], counts["retain"]))
    assert read["intervals"]["ta"] == pytest.approx(wilson(read["metrics"]["ta"], counts["test_report"]))
    assert {"torch", "peft", "neglora", "time", "host"} <= set(read["provenance"])
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith("# resnet_nano on tiny without 3 and 5\n")
    low, high = (f"{100 * bound:.2f}" for bound in read["intervals"]["ta"])
    assert f"| {100 * read['metrics']['ta']:.2f} | {low} to {high} |" in text
    assert tiny.fingerprint in text


def test_the_cards_code_runs(export, tmp_path, monkeypatch):
    export(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    blocks = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    exec(blocks[0], names)
    merged = names["model"]
    exec(blocks[1], names)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (merged(images) - names["model"](images)).abs().max() <= 1e-5


def test_intervals_only_of_what_was_measured():
    counts = {"forget": 10, "retain": 0, "test_report": 4, "test_forget": 0}
    metrics = {"ua": 1.0, "ra": 0.5, "ta": None, "mia": 0.5, "ua_test": None, "mia_auc": 0.5}
    assert set(intervals(metrics, counts)) == {"ua", "mia"}


def test_an_earlier_export_is_replaced_and_other_things_are_not(export, tmp_path):
    first, _, _ = export(tmp_path / "out")
    second, _, _ = export(tmp_path / "out", "neggrad")
    assert first["params"] != second["params"]
    assert not (tmp_path / "out" / "adapter").exists()
    assert json.loads((tmp_path / "out" / "card.json").read_text())["params"] == second["params"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no drafts are left"
    (tmp_path / "out" / "mine.txt").write_text("notes")
    with pytest.raises(ExportError, match=r"holds mine\.txt and is not overwritten"):
        export(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "notes"


def test_where_nothing_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "model.safetensors").write_bytes(b"somebody's")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="is a file"):
        check_folder(tmp_path / "file")
    with pytest.raises(ExportError, match="not overwritten"):
        check_folder(tmp_path / "part")
    check_folder(tmp_path / "empty")
    check_folder(tmp_path / "absent")


def test_a_failure_leaves_the_earlier_export(export, tmp_path, monkeypatch):
    export(tmp_path / "out")
    before = (tmp_path / "out" / "card.json").read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neglora.export._write_text", full)
    with pytest.raises(ExportError, match="No space left"):
        export(tmp_path / "out", "neggrad")
    assert (tmp_path / "out" / "card.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_random_share_has_no_class(session, setting):
    replicate, _ = run_replicate(
        session, setting, "neggrad", METHODS["neggrad"].resolve({"lr": 1e-4}), {"random": 0.1, "seed": 1}, 0
    )
    forget = ForgetSet(share=0.1, seed=1)
    result = result_of(session, setting, "neggrad", METHODS["neggrad"].resolve({"lr": 1e-4}), forget, replicate)
    made = card(
        result, setting=setting, dataset=session.dataset(setting), forget=forget, base=None, adapter=None, merge=None
    )
    assert made["forget"] == {"set": {"random": 0.1, "seed": 1}, "classes": [], "title": "a random 10% (seed 1)"}
    assert "ua_test" not in made["intervals"]
    assert "without a random 10% (seed 1)" in card_markdown(made, {"model.safetensors": "the model"})
