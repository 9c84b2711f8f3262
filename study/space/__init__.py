"""The search space of a study: its YAML, checked as a whole, and the cells that follow from it."""

from study.space.cells import Cell
from study.space.differences import differences
from study.space.parsing import load_space, parse_space, training_problems
from study.space.problems import Problem, SpaceError, unknown_name
from study.space.schema import SAMPLER_NAMES, Space, space_schema

__all__ = [
    "SAMPLER_NAMES",
    "Cell",
    "Problem",
    "Space",
    "SpaceError",
    "differences",
    "load_space",
    "parse_space",
    "space_schema",
    "training_problems",
    "unknown_name",
]
