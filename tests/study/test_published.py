"""The paper's numbers are all there, and every doubt names a cell that exists."""

import dataclasses
import itertools

import pytest

from study.published import EPOCHS, ONCE, PER_EPOCHS, published_for, published_tables

METHODS = ("retrain", "neggrad", "partial_neggrad", "neglora")
DATASETS = {"Figure 2": ("imagenet100", "cifar100", "cifar10"), "Figure 4": ("cifar100", "cifar10")}
#: The longest reason that still reads as a footnote.
FOOTNOTE = 160


def test_both_tables_are_complete():
    assert {table.source for table in published_tables()} == set(DATASETS)
    for table in published_tables():
        rows = [(row.dataset, row.method) for row in table.rows]
        assert rows == list(itertools.product(DATASETS[table.source], METHODS))
        for row in table.rows:
            assert row.name
            assert row.parameters[-1] in "KM"
            assert set(row.metrics) == set(EPOCHS) == {1, 2}
            for metrics in row.metrics.values():
                assert set(metrics) == set(PER_EPOCHS)
                assert all(0 <= value <= 1 for value in metrics.values())
            assert 0 < row.rte_epoch <= 1
            assert (row.rte_epoch == 1) == (row.method == "retrain")


def test_percent_as_printed_is_a_fraction_without_noise():
    row = published_for("imagenet100", "vit_small").row("imagenet100", "neglora")
    assert row.metrics[2] == {"ua": 1.0, "mia": 0.9727, "ra": 0.6062, "ta": 0.5438}
    assert (row.parameters, row.rte_epoch) == ("20K", 0.0056)


@pytest.mark.parametrize("table", published_tables(), ids=lambda table: table.source)
def test_every_doubt_is_about_existing_cells_and_says_why_in_a_line(table):
    assert table.doubts
    for doubt in table.doubts:
        assert table.row(doubt.dataset, doubt.method) is not None
        assert doubt.fields
        assert set(doubt.fields) <= {*PER_EPOCHS, *ONCE}
        assert set(doubt.epochs) <= set(EPOCHS)
        # What is printed once has no epochs, what is printed per number of epochs names some.
        assert bool(doubt.epochs) == (not set(doubt.fields) & set(ONCE))
        assert 20 < len(doubt.reason) <= FOOTNOTE
        assert "\n" not in doubt.reason


@pytest.mark.parametrize(
    ("model", "dataset", "method", "field", "epochs"),
    [
        ("vit_small", "cifar10", "neggrad", "ra", 1),
        ("vit_small", "cifar10", "neggrad", "ta", 2),
        ("vit_small", "imagenet100", "neggrad", "ua", 2),
        ("resnet50", "cifar10", "retrain", "ra", 1),
        ("resnet50", "cifar10", "retrain", "ua", 2),
        ("resnet50", "cifar100", "retrain", "ta", 1),
        ("resnet50", "cifar100", "partial_neggrad", "parameters", 1),
    ],
)
def test_known_contradictions_are_doubted(model, dataset, method, field, epochs):
    table = published_for(dataset, model)
    assert table.doubt(table.row(dataset, method), field, epochs)


def test_the_repeated_row_does_repeat_the_other():
    table = published_for("cifar10", "vit_small")
    one, other = table.row("cifar10", "neggrad"), table.row("imagenet100", "partial_neggrad")
    for epochs, name in itertools.product(EPOCHS, ("ua", "ra", "ta")):
        assert one.metrics[epochs][name] == other.metrics[epochs][name]


def test_what_nothing_contradicts_is_not_doubted():
    table = published_for("imagenet100", "vit_small")
    row = table.row("imagenet100", "neggrad")
    assert table.doubt(row, "ua", 1) is None
    assert table.doubt(row, "ra", 2) is None
    assert table.doubt(row, "parameters", 1) is None


def test_a_table_stands_beside_the_models_it_may_be_of():
    vit, resnet = published_tables()
    assert published_for("cifar10", "vit_small") == published_for("cifar10", "tinyvit_21m") == vit
    assert published_for("cifar100", "resnet50") == resnet
    assert published_for("imagenet100", "resnet50") is None
    assert published_for("digits", "vit_small") is None
    assert published_for("cifar10", "tinyvit_nano") is None


def test_a_table_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        published_tables()[0].source = "elsewhere"
