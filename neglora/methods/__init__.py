"""Unlearning methods: one per file, declared here."""

from neglora.methods import neggrad, neglora, partial_neggrad, retrain
from neglora.methods.method import Method, Passing, Unlearned
from neglora.parameters import Parameter

METHODS: dict[str, Method] = {
    "retrain": retrain.METHOD,
    "neggrad": neggrad.METHOD,
    "partial_neggrad": partial_neggrad.METHOD,
    "neglora": neglora.METHOD,
}

__all__ = ["METHODS", "Method", "Parameter", "Passing", "Unlearned"]
