"""Every shipped study of the paper's grid in miniature, from its file to its report, on one Ray that all of them share.

Small in everything but names: two trials a cell, axes cut to their ends, one class and one seed, an epoch of training,
small models of the same families, and datasets of digits in the published formats. Methods, targets, ranges and axes
are the files' own.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neglora.models import find_model
from neglora.record import Record
from study.cli import main
from study.ledger import read_ledger
from study.space import Space, load_space
from study.space.including import read_space
from study.space.problems import Findings
from tests.archives import write_cifar
from tests.trees import write_imagenet

pytestmark = [pytest.mark.cluster, pytest.mark.grid, pytest.mark.timeout(600)]

SPACES = [path for path in sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml")) if "-" in path.stem]
PAPER = SPACES[0].with_name("paper.yaml") if SPACES else Path("paper.yaml")
#: Small models of the same families, with the same targets.
SMALL = {"tinyvit_21m": "tinyvit_nano", "vit_small": "timm:test_vit", "resnet50": "resnet_nano"}
DATASETS = ("cifar10", "cifar100", "imagenet100")
METHODS = ("neggrad", "partial_neggrad", "neglora")
TRIALS = 2


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with small data in the published formats, and the address of a Ray that is there for all studies."""
    folder = tmp_path_factory.mktemp("spaces")
    write_cifar(folder / "data", "cifar10", train=12, test=6)
    write_cifar(folder / "data", "cifar100", train=3, test=2)
    write_imagenet(folder / "data", per_class=3, val_per_class=2, size=32)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "CI": "1"}.items():
            patched.setenv(name, value)
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("PYTHONPATH", os.getcwd())
        patched.setenv("NEGLORA_CACHE", str(folder / "cache"))
        patched.chdir(folder)
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "object_store_memory": 128 * 2**20, "include_dashboard": False},
        )
        try:
            yield folder, cluster.address
        finally:
            cluster.shutdown()


def miniature(path: Path) -> dict[str, Any]:
    """A search space with everything that costs cut short."""
    findings = Findings(str(path))
    plain: dict[str, Any] = copy.deepcopy(read_space(path, findings))
    findings.raise_any()
    plain["models"] = [SMALL[model] for model in plain["models"]]
    plain["replicates"] = {name: listed[:1] for name, listed in plain["replicates"].items()}
    plain["axes"] = {name: [levels[0], levels[-1]] for name, levels in plain["axes"].items()}
    plain["search"] |= {"trials": TRIALS, "batch": TRIALS}
    plain["resources"] = {"cpus": 1, "gpus": 0}
    plain["evaluation"] |= {"attacks": "confidence"}
    plain["training"] = {"recipe": "nano", "epochs": 1, "warmup_epochs": 0, "recovery_epochs": 1, "batch_size": 64}
    plain["data"] = {"verify": False, "image_size": 32, "workers": 0}
    overrides = []
    for override in plain["overrides"]:
        # A file for one model holds what its blocks have for others, too.
        named = override["when"]["model"]
        models = [SMALL[model] for model in (named if isinstance(named, list) else [named])]
        models = [model for model in models if model in plain["models"]]
        for settings in override["methods"].values():
            settings["configurations"] = settings.get("configurations", [])[:1]
        if models:
            overrides.append({**override, "when": {"model": models}})
    return plain | {"overrides": overrides}


def run(path: Path, workplace: tuple[Path, str]) -> tuple[Space, list[Record]]:
    """A study in miniature through the command line; its space and its records."""
    folder, address = workplace
    written = folder / path.name
    written.write_text(yaml.safe_dump(miniature(path), sort_keys=False), encoding="utf-8")
    words = ["run", str(written), "--address", address, "--storage", "runs", "--data-root", "data"]
    assert main(words) == 0
    return load_space(written, data={"root": str(folder / "data")}), read_ledger(folder / "runs" / path.stem)


def check_records(space: Space, records: list[Record], full: Space) -> None:
    """Every cell of the grid has its trials, all came to an end of their own, and names are the file's."""
    failed = [(record.trial, record.reason) for record in records if record.status == "failed"]
    assert not failed
    assert {record.status for record in records} <= {"ok", "diverged"}
    assert any(record.status == "ok" for record in records)
    pairs = list(itertools.product(full.datasets, [SMALL[model] for model in full.models]))
    levels = itertools.product(*([full.axes[name][0], full.axes[name][-1]] for name in ("sparsity", "epochs")))
    wanted: dict[tuple[Any, ...], int] = {
        (*pair, method, *level): TRIALS for pair, method, level in itertools.product(pairs, METHODS, levels)
    }
    wanted |= {(*pair, "retrain", None, None): 1 for pair in pairs}
    found = Counter(
        tuple(record.cell.get(name) for name in ("dataset", "model", "method", "sparsity", "epochs"))
        for record in records
    )
    assert found == wanted
    assert list(space.methods) == list(full.methods) == list(METHODS)
    assert space.axes.keys() == full.axes.keys()
    for cell in full.cells():
        small = [one for one in space.cells() if one.method == cell.method and one.model == SMALL[cell.model]]
        assert small
        assert all(one.dimensions == cell.dimensions for one in small)
    for record in records:
        for replicate in record.replicates:
            assert (replicate["forget"], replicate["seed"]) == (full.replicates.forget[0], full.replicates.seeds[0])


def test_every_dataset_and_model_has_a_file() -> None:
    assert {path.stem for path in SPACES} == {f"{dataset}-{model}" for dataset in DATASETS for model in SMALL}
    assert PAPER.is_file()
    assert all(find_model(model) for model in SMALL.values())


# The whole grid first: it makes the models that the others then find.
@pytest.mark.parametrize("path", [PAPER, *SPACES], ids=lambda path: path.stem)
def test_a_shipped_study_runs_in_miniature(path: Path, workplace: tuple[Path, str]) -> None:
    space, records = run(path, workplace)
    check_records(space, records, load_space(path))
    folder, _ = workplace
    study = folder / "runs" / path.stem
    for name in ("report.html", "trials.csv", "front.csv", "summary.json"):
        assert (study / name).stat().st_size > 0
    assert (folder / "reports" / f"{path.stem}.html").is_file()
