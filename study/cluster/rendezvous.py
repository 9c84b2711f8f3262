"""Where workers wait for each other. A file of its own, so that its process needs not load torch."""

from __future__ import annotations

import asyncio

#: A worker that is up waits this long for the others before its first trial.
START_TOGETHER_SECONDS = 60.0


class Rendezvous:
    """Lets workers start their first trials together.

    Tune gives a waiting trial to whichever worker is free and then cancels the worker that was starting for it. With
    trials shorter than a start, a study would end up in one process. So nobody finishes a trial before all are up.
    """

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all_here = asyncio.Event()

    async def arrive(self) -> None:
        """Return when all expected workers have arrived, or after `START_TOGETHER_SECONDS`."""
        self._missing -= 1
        if self._missing <= 0:
            self._all_here.set()
        try:
            await asyncio.wait_for(self._all_here.wait(), START_TOGETHER_SECONDS)
        except TimeoutError:
            self._all_here.set()
