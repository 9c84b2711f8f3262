"""Recipes as data: what each file says against the paper's tables, and what a recipe refuses and leaves out of keys."""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from neglora import recipes
from neglora.methods import METHODS
from neglora.models import MODELS, find_model
from neglora.recipe import NOT_DETERMINING, SPARSE_ONLY, Recipe, RecipeError, warmup_cosine
from neglora.recipes import RECIPES, UNLEARNING, load_recipe, unlearning_settings
from neglora.train import recipe_of


def test_every_file_is_a_recipe_and_every_recipe_a_file():
    files = {path.stem for path in Path(recipes.__file__).parent.glob("*.toml")}
    assert files == {*RECIPES, *UNLEARNING}
    assert len(RECIPES) >= 4
    for name in RECIPES:
        entry = load_recipe(name)
        assert entry.name == name
        assert entry.about
        assert len(entry.source) > 20
        assert load_recipe(name) is entry, "read once"


def test_the_values_of_the_papers_tables():
    vit = load_recipe("vit_paper").recipe
    assert (vit.optimizer, vit.lr, vit.weight_decay, vit.betas) == ("adamw", 1e-3, 0.05, (0.9, 0.999))
    assert (vit.batch_size, vit.epochs, vit.warmup_epochs, vit.warmup_lr) == (256, 90, 20, 1e-6)
    literal = load_recipe("resnet50_paper").recipe
    assert (literal.optimizer, literal.lr, literal.weight_decay, literal.betas) == ("adamw", 0.1, 0.05, (0.9, 0.999))
    assert (literal.batch_size, literal.epochs, literal.warmup_epochs) == (128, 200, 0)
    trains = load_recipe("resnet50").recipe
    assert (trains.optimizer, trains.lr, trains.momentum) == ("sgd", 0.1, 0.9)
    assert (trains.batch_size, trains.epochs) == (literal.batch_size, literal.epochs)
    assert "diverges" in load_recipe("resnet50_paper").about
    for name in RECIPES:
        assert load_recipe(name).recipe.clip_norm is None


def test_settings_of_unlearning_are_what_the_method_takes():
    settings = unlearning_settings("lora_paper")
    assert settings == {"rank": 16, "alpha": 32, "dropout": 0.1, "batch_size": 256, "epochs": 1}
    resolved = METHODS["neglora"].resolve(settings)
    assert {name: resolved[name] for name in settings} == settings
    settings["rank"] = 1
    assert unlearning_settings("lora_paper")["rank"] == 16


@pytest.mark.parametrize("ask", [load_recipe, unlearning_settings])
def test_an_unknown_name_lists_the_known(ask):
    with pytest.raises(RecipeError, match=r"unknown .* 'vit'.*paper"):
        ask("vit")


def test_every_model_has_a_recipe():
    assert MODELS
    for name in MODELS:
        entry = find_model(name)
        assert entry.recipe in RECIPES
        assert recipe_of(name) == load_recipe(entry.recipe).recipe


def test_the_default_is_that_of_small_models():
    assert load_recipe("nano").recipe == Recipe()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "adam"),
        ("schedule", "step"),
        ("precision", "fp16"),
        ("epochs", -1),
        ("batch_size", 0),
        ("workers", 0),
        ("lr", -1.0),
        ("lr", math.nan),
        ("weight_decay", -0.1),
        ("momentum", 1.0),
        ("betas", (0.9, 1.0)),
        ("clip_norm", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(RecipeError, match=rf"^{name}: expected .* got "):
        Recipe(**{name: value})


def test_a_recipe_changed():
    assert Recipe().changed({"lr": 0.1, "weight_decay": None, "betas": [0.9, 0.95]}) == replace(
        Recipe(), lr=0.1, betas=(0.9, 0.95)
    )
    with pytest.raises(TypeError, match="epoch_count"):
        Recipe().changed({"epoch_count": 3})


def test_a_shorter_training_is_not_all_warm_up():
    vit = load_recipe("vit_paper").recipe
    assert vit.changed({"epochs": 10}).warmup_epochs == 5
    assert vit.changed({"epochs": 60}).warmup_epochs == 20
    assert vit.changed({"epochs": 1}).warmup_epochs == 0
    assert vit.changed({"epochs": 10, "warmup_epochs": 9}).warmup_epochs == 9, "what is given is taken"


def test_recovery_is_shorter_with_a_rate_of_its_own():
    recovery = Recipe(epochs=15, warmup_epochs=2, recovery_epochs=5, recovery_lr=1e-4).recovery
    assert (recovery.epochs, recovery.lr, recovery.warmup_epochs, recovery.warmup_lr) == (5, 1e-4, 1, None)
    assert Recipe(warmup_lr=1e-3, recovery_lr=1e-4).recovery.warmup_lr == 1e-4


def test_what_does_not_change_the_weights_is_left_out():
    names = {field.name for field in fields(Recipe)}
    assert set(NOT_DETERMINING) | set(SPARSE_ONLY) < names
    assert set(Recipe().determining(sparse=True)) == names - set(NOT_DETERMINING)
    assert set(Recipe().determining(sparse=False)) == names - set(NOT_DETERMINING) - set(SPARSE_ONLY)


def test_schedule_in_closed_form():
    factors = [warmup_cosine(step, 4, 12) for step in range(14)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[6] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == factors[13] == pytest.approx(0.0, abs=1e-15)


def test_schedule_from_a_learning_rate():
    recipe = Recipe(lr=0.1, warmup_epochs=2, warmup_lr=1e-3, epochs=4)
    rates = [recipe.learning_rate(step, 5) for step in range(20)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[5] == pytest.approx((1e-3 + 0.1) / 2)
    assert rates[10] == pytest.approx(0.1)
    assert rates[15] == pytest.approx(0.05)
    assert max(rates) == rates[10]


def test_schedule_at_its_ends():
    assert warmup_cosine(0, 0, 10) == 1.0
    assert warmup_cosine(5, 0, 10) == pytest.approx(0.5)
    assert [warmup_cosine(step, 4, 2) for step in range(2)] == [0.25, 0.5], "a training that ends while it warms up"
    assert Recipe(lr=0.0, warmup_lr=1e-6).learning_rate(0, 3) == 0.0
