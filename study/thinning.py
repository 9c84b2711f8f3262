"""Which trials are drawn where there are too many of them to be told apart: the fronts always, of the others some."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

#: So many trials of a dataset x model are drawn without leaving any out.
DRAWN = 2000


def thinned(trials: Sequence[str], always: Collection[str] = (), limit: int = DRAWN) -> list[str]:
    """At most `limit` of the trials, in their order: those of `always`, and evenly spaced ones of the others.

    Where `always` alone has more than `limit`, all of it is kept and nothing else. The same for the same arguments.
    """
    kept = set(always)
    others = [index for index, trial in enumerate(trials) if trial not in kept]
    room = max(0, limit - (len(trials) - len(others)))
    if room < len(others):
        chosen = np.linspace(0, len(others) - 1, room).round().astype(int) if room else np.empty(0, dtype=int)
        kept |= {trials[others[index]] for index in chosen}
        return [trial for trial in trials if trial in kept]
    return list(trials)
