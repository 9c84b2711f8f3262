"""The keys of a search space, section by section. What relates sections to each other is checked in `checks.py`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from neglora.audits import AUDITS
from neglora.data import dataset_names, find_dataset
from neglora.models import OPTIONS, find_model, model_names, nearest_model
from neglora.objectives import METRICS
from neglora.prune import MODES
from neglora.recipe import OPTIMIZERS, PRECISIONS, SCHEDULES
from neglora.recipes import RECIPES
from study.space.cells import Cell, cells_of, sparsities_of
from study.space.fields import (
    DIFFERENT,
    DISTINCT,
    Betas,
    Counted,
    CropScale,
    Flag,
    Folder,
    Forgotten,
    Gpus,
    Known,
    NotNegative,
    Number,
    PixelDeviation,
    PixelMean,
    Positive,
    Probability,
    RandAugment,
    Share,
    StudyName,
    Text,
    Weights,
    Whole,
    none_or_several,
    one_or_several,
    refusal,
)
from study.space.including import INCLUDE
from study.space.methods import axes_schema, methods_schema, searchable

#: The keys of `study.samplers.SAMPLERS`, which stands on the same floor and imports Optuna; a test compares them.
SAMPLER_NAMES = ("tpe", "nsga2", "nsga3", "gp", "random", "grid")
#: What the membership attack is run on for the report: `confidence` alone is the paper's number.
ATTACKS = ("all", "confidence")

Dataset = Annotated[str, Known("dataset", dataset_names, find_dataset)]
Model = Annotated[str, Known("model", model_names, find_model, nearest_model)]
MethodName = Annotated[str, Known("method", searchable)]
Objective = Annotated[str, Known("metric", lambda: METRICS)]
Sampler = Annotated[str, Known("sampler", lambda: SAMPLER_NAMES)]
Pruning = Annotated[str, Known("pruning mode", lambda: MODES)]
Option = Annotated[str, Known("option of models", lambda: OPTIONS)]
Attacks = Annotated[str, Known("set of attacks", lambda: ATTACKS)]
Audit = Annotated[str, Known("audit", lambda: AUDITS)]
RecipeName = Annotated[str, Known("recipe", lambda: RECIPES)]
Optimizer = Annotated[str, Known("optimizer", lambda: OPTIMIZERS)]
Schedule = Annotated[str, Known("schedule", lambda: SCHEDULES)]
Precision = Annotated[str, Known("precision", lambda: PRECISIONS)]


Datasets = Annotated[
    tuple[Dataset, ...], BeforeValidator(one_or_several, json_schema_input_type=Dataset | tuple[Dataset, ...]), DISTINCT
]
Models = Annotated[
    tuple[Model, ...], BeforeValidator(one_or_several, json_schema_input_type=Model | tuple[Model, ...]), DISTINCT
]
Methods = Annotated[
    tuple[MethodName, ...],
    BeforeValidator(one_or_several, json_schema_input_type=MethodName | tuple[MethodName, ...]),
    DISTINCT,
]


def _in_order(audits: tuple[str, ...]) -> tuple[str, ...]:
    """As the registry has them, so that one choice has one text."""
    return tuple(name for name in AUDITS if name in audits)


Audits = Annotated[
    tuple[Audit, ...],
    BeforeValidator(none_or_several, json_schema_input_type=None | Audit | tuple[Audit, ...]),
    DIFFERENT,
    AfterValidator(_in_order),
]


class Section(BaseModel):
    """A mapping of known keys. The text under each key is what editors show, and what a missing key is called."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Replicates(Section):
    """The forget sets and seeds on which every configuration is tried: all pairs of them."""

    forget: Annotated[tuple[Forgotten, ...], DISTINCT]
    """a list of forget sets: each a class by index or name, a list of classes, or {random: SHARE, seed: SEED}"""
    seeds: Annotated[tuple[Whole, ...], DISTINCT] = (0,)
    """a list of seeds; each fixes base model, Retrain, adapter initialization and data order"""


class Selection(Section):
    """How the test images are split into the half that the search sees and the half that the report shows."""

    holdout: Share = 0.5
    """the share of test images that only the report sees; 0 is the paper's protocol, selected on the test set"""
    seed: Whole = 0
    """the seed of the split"""


class Bounds(Section):
    """What a metric has to keep to."""

    min: Number | None = None
    """the least value, a fraction"""
    max: Number | None = None
    """the largest value, a fraction"""


class Search(Section):
    """How each cell is searched."""

    sampler: Sampler = "tpe"
    """the name of the sampler"""
    trials: Counted
    """the number of trials per cell"""
    seed: Whole = 0
    """the seed of the search"""
    batch: Counted = 4
    """trial n follows from trials 0 to n-batch: so many of a cell can run at once"""
    snapshots: Flag = False
    """measure a run of several epochs after fewer ones too, where the space lists them: each is a trial of its own"""


class Resources(Section):
    """What each trial and each preparation task gets."""

    cpus: Positive = 1
    """CPU cores"""
    gpus: Gpus = 0
    """GPUs; fractions share one; auto measures the first trials and lets as many share one as have room"""


class Training(Section):
    """Changes to what base models and Retrain are trained with; null leaves the value of recipe or dataset."""

    recipe: RecipeName | None = None
    """the recipe that the other keys change; by default the model's own"""
    optimizer: Optimizer | None = None
    """the optimizer"""
    epochs: Counted | None = None
    """passes over the training images"""
    lr: Positive | None = None
    """peak learning rate"""
    batch_size: Counted | None = None
    """images a step, over all workers"""
    weight_decay: NotNegative | None = None
    """weight decay, decoupled for adamw"""
    momentum: Share | None = None
    """momentum of sgd"""
    betas: Betas | None = None
    """the two decay rates of adamw"""
    warmup_epochs: Whole | None = None
    """epochs of linear warm-up, within `epochs`"""
    warmup_lr: Positive | None = None
    """learning rate at the start of the warm-up"""
    schedule: Schedule | None = None
    """how the learning rate falls"""
    clip_norm: Positive | None = None
    """largest norm of the gradient"""
    precision: Precision | None = None
    """number format of the computation; auto is bf16 on a GPU that has it, else float32"""
    channels_last: Flag | None = None
    """memory layout of images and kernels; by default on a GPU"""
    shift: Whole | None = None
    """largest shift of the augmentation, in pixels"""
    flip: Flag | None = None
    """mirror half of the training images left and right"""
    crop_scale: CropScale | None = None
    """share of the image, from and to, that a random crop holds; of image files"""
    randaugment: RandAugment | None = None
    """setting of RandAugment, such as rand-m9-mstd0.5-inc1; of image files"""
    erase: Probability | None = None
    """probability that a rectangle of a training image is erased"""
    pruning: Pruning | None = None
    """how sparse bases are pruned"""
    recovery_epochs: Whole | None = None
    """epochs of fine-tuning after pruning"""
    recovery_lr: Positive | None = None
    """learning rate of the fine-tuning after pruning"""
    workers: Counted | None = None
    """processes that train one model, each with the CPUs and GPUs of `resources`"""
    checkpoint_minutes: Positive | None = None
    """how often a training is kept, so that it can go on after a kill"""


class Data(Section):
    """Where datasets are read from."""

    root: Folder | None = None
    """the folder of datasets that are read from disk"""
    verify: Flag = True
    """refuse archives whose checksum is not the published one"""
    download: Flag = False
    """fetch a missing archive from its publisher"""
    image_size: Counted | None = None
    """pixels of a side, of datasets that may have any"""
    mean: tuple[PixelMean, ...] | None = None
    """mean of each channel, of pixel values in [0, 1]"""
    std: tuple[PixelDeviation, ...] | None = None
    """standard deviation of each channel, of pixel values in [0, 1]"""
    damaged: Share = 0.01
    """the largest share of images that cannot be decoded and are left out"""
    workers: Whole | None = None
    """processes that decode images"""
    seed: Whole = 0
    """the seed of the split of a folder that has none"""
    test_share: Share = 0.2
    """the share of images that such a split puts aside for testing"""


class Evaluation(Section):
    """How models are measured."""

    batch_size: Counted = 64
    """images in an evaluation batch"""
    attacks: Attacks = "all"
    """the membership attacks of the report: all five, or the paper's on confidences alone"""
    retain_samples: Counted | None = None
    """retained images on which RA is measured while searching; null for all of them, as the paper has it"""
    test_samples: Counted | None = None
    """test images on which TA is measured while searching; null for all of them"""
    probe_samples: Counted | None = None
    """retained images at which a trial is looked first: one at chance there is not measured further; null for none"""
    prefix_gib: NotNegative = 2.0
    """GiB in which a worker keeps what its trials' models compute alike; 0 computes everything for every trial"""


class Confirm(Section):
    """Forget sets and seeds that the search does not see, on which the recommended settings are tried again."""

    forget: Annotated[tuple[Forgotten, ...], DISTINCT]
    """a list of forget sets, as in `replicates`"""
    seeds: Annotated[tuple[Whole, ...], DISTINCT] = (0,)
    """a list of seeds"""


class Failures(Section):
    """What happens when a worker is lost."""

    retries: Whole = 2
    """how often a trial is tried again"""


class When(Section):
    """Which cells an override is for: those that match every key."""

    dataset: Datasets | None = None
    """one or several datasets"""
    model: Models | None = None
    """one or several models"""
    method: Methods | None = None
    """one or several methods"""

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if not (self.dataset or self.model or self.method):
            raise refusal("expected at least one of dataset, model and method")
        return self


class Override(Section):
    """Settings that differ for some cells; later overrides win."""

    when: When
    """a mapping of dataset, model or method to names"""
    methods: dict[str, dict[str, Any]]
    """a mapping of methods to the settings that differ"""


class Space(Section):
    """A study: what is searched, on what, and how. Made by `load_space` and `parse_space`, which check all of it."""

    study: StudyName
    """the study's name, which its folder gets"""
    datasets: Annotated[tuple[Dataset, ...], DISTINCT]
    """a list of datasets"""
    models: Annotated[tuple[Model, ...], DISTINCT]
    """a list of models"""
    replicates: Replicates
    """a mapping of `forget` and `seeds` to lists"""
    selection: Selection = Selection()
    """the split of the test images between search and report"""
    objectives: Annotated[tuple[Objective, ...], DISTINCT] = ("ua", "ra", "ta", "mia")
    """metrics to search on, each in its own direction"""
    constraints: dict[Objective, Bounds] = Field(default_factory=dict)
    """bounds on metrics, such as {ua: {min: 0.95}}"""
    search: Search
    """a mapping with `trials`, the number of trials per cell"""
    resources: Resources = Resources()
    """what each trial gets"""
    methods: dict[str, dict[str, Any]]
    """a mapping of methods to their settings"""
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    """parameters whose every level gets cells and a budget of its own"""
    overrides: tuple[Override, ...] = ()
    """settings that differ by dataset, model or method"""
    training: Training = Training()
    """changes to the training recipe"""
    data: Data = Data()
    """where datasets are and how they are read"""
    architecture: dict[Option, Text] = Field(default_factory=dict)
    """options of models, such as {windows: padded}"""
    weights: Weights = None
    """a file of trained weights to start from, a mapping of models to such files, or `pretrained`"""
    evaluation: Evaluation = Evaluation()
    """how models are measured"""
    confirm: Confirm | None = None
    """forget sets and seeds on which the recommended settings are tried again"""
    failures: Failures = Failures()
    """what happens when a worker is lost"""
    audits: Audits = ()
    """audits that models are measured by wherever all there is is measured: is the class gone, or only hidden?"""

    def cells(self) -> tuple[Cell, ...]:
        """Every cell of the study, Retrain of each dataset and model first."""
        return cells_of(self.resolved())

    def sparsities(self, dataset: str, model: str) -> list[float]:
        """Every level of sparsity that a trial of this dataset and model may start from, ascending."""
        return sparsities_of(self.cells(), dataset, model)

    def resolved(self) -> dict[str, Any]:
        """The space as plain data with every default written out, as `study.yaml` holds it.

        As YAML it is parsed to an equal space.
        """
        plain = self.model_dump(mode="json")
        plain["constraints"] = {
            name: {side: bound for side, bound in bounds.items() if bound is not None}
            for name, bounds in plain["constraints"].items()
        }
        for override in plain["overrides"]:
            override["when"] = {key: names for key, names in override["when"].items() if names is not None}
        return plain


def space_schema() -> dict[str, Any]:
    """The JSON schema of a search space, by which editors complete and check it."""
    schema = Space.model_json_schema()
    _let_includes_in(schema)
    # Sections whose keys are names from the registries of methods, which pydantic does not know.
    schema["$defs"]["Methods"] = methods_schema()
    for section in (schema, schema["$defs"]["Override"]):
        described = section["properties"]["methods"]["description"]
        section["properties"]["methods"] = {"$ref": "#/$defs/Methods", "description": described}
    schema["properties"]["axes"] |= axes_schema()
    schema["properties"]["constraints"]["propertyNames"] = {"enum": list(METRICS)}
    architecture = schema["properties"]["architecture"]
    for key in ("additionalProperties", "propertyNames"):
        architecture.pop(key, None)
    architecture["properties"] = {option: {"enum": list(values)} for option, values in OPTIONS.items()}
    architecture["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _let_includes_in(schema: dict[str, Any]) -> None:
    """Add the key `include`, and ask for what every space needs only of a file that includes none."""
    files = {"type": "string", "minLength": 1}
    schema["properties"] = {
        INCLUDE: {
            "description": "a file, or a list of files, that this one stands on; relative to this file",
            "anyOf": [files, {"type": "array", "items": files}],
        }
    } | schema["properties"]
    whole: dict[str, Any] = {"required": schema.pop("required"), "properties": {}}
    for name, described in schema["properties"].items():
        section = schema["$defs"].get(described.get("$ref", "").rpartition("/")[2], {})
        if "required" in section:
            whole["properties"][name] = {"required": section.pop("required")}
    schema |= {"if": {"not": {"required": [INCLUDE]}}, "then": whole}
