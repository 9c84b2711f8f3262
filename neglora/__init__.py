"""neglora: machine unlearning for image classifiers, as a plain library and as the ground of hyperparameter studies.

import neglora
forgotten = neglora.unlearn(model, forget_loader, method="neglora", lr=3e-3)
neglora.evaluate(forgotten, forget=forget_loader, retain=retain_loader, test=test_loader)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neglora.api import evaluate, unlearn

__all__ = ["evaluate", "unlearn"]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that records can be read on a machine without torch.
    if name in __all__:
        from neglora import api

        return getattr(api, name)
    raise AttributeError(f"module 'neglora' has no attribute {name!r}")
