"""Why a worker was lost, in words that people understand. Apart from what loses them, since that imports Ray.

Ray tells a lost worker as text: sentences of its own around what it knows. The signal that ended a process is not
among it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """One lost attempt at a trial.

    Attributes:
        words: what happened, as the end of a sentence about the worker.
        counts: whether the attempt counts against the retries. A worker that leaves of itself costs its next trial
            nothing.
    """

    words: str
    counts: bool = True


_KILLED_FOR_MEMORY = re.compile(r"(?:was|were) (?P<used>\S+) used / (?P<limit>\S+) limit")
_OWN_MEMORY = re.compile(r"actual memory used=(?P<own>[\d.]+)\s?GB")
_EXIT_CODE = re.compile(r"exits? with an exit code (?P<code>-?\d+)\.(?P<detail>[^\n]*)")
_ADDRESS = re.compile(r"^\s*ip: (?P<ip>\S+)", re.MULTILINE)
#: The last line of a traceback: a type of error and what it says.
_RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Lost)?): (?P<told>.+)$", re.MULTILINE)
_HEADLINE = re.compile(r"Failure # \d+ \(occurred at [^)]*\)")


def loss_of(text: str) -> Loss:
    """What Ray's text about a lost worker means.

    Args:
        text: of the error, as Ray words it; Tune's headlines above it are skipped.
    """
    text = _HEADLINE.sub("", text).strip()
    where = _ADDRESS.search(text)
    place = f" on {where['ip']}" if where else ""
    if "exit_actor() is called" in text:
        return Loss("the worker had run out of memory before, and was replaced", counts=False)
    if "low on memory" in text or "exceeded threshold of" in text:
        return Loss(_for_memory(text))
    if "its node has died" in text or "node was terminated" in text or "NodeDied" in text:
        return Loss(f"its machine {where['ip']} was lost" if where else "its machine was lost")
    if "Traceback" in text or "error raised in its creation task" in text:
        raised = _RAISED.findall(text)
        if raised:
            name, told = raised[-1]
            return Loss(f"it could not work: {name.rsplit('.', 1)[-1]}: {told.strip()}")
    if "is unavailable" in text:
        return Loss(f"its process{place} could not be reached any more: its machine is gone or cut off")
    if "End of file" in text or "connection error" in text:
        return Loss(f"its process{place} died: killed (SIGKILL, as the kernel does when memory runs out) or crashed")
    if "receives a SIGTERM" in text:
        return Loss(f"its process{place} was stopped (SIGTERM)")
    code = _EXIT_CODE.search(text)
    if code:
        return Loss(f"its process{place} ended with exit code {code['code']}")
    first = next((line.strip() for line in text.splitlines() if line.strip()), "Ray gives no reason")
    return Loss(first)


def _for_memory(text: str) -> str:
    """The out-of-memory killer of Ray, with the numbers that it gave."""
    memory, own = _KILLED_FOR_MEMORY.search(text), _OWN_MEMORY.search(text)
    words = "Ray's out-of-memory killer ended it, since its machine was short of memory"
    if memory:
        words += f" ({memory['used']} of {memory['limit']} used"
        words += f", {own['own']} GB by this worker)" if own else ")"
    return words


def told(losses: Sequence[Loss]) -> str:
    """The reason of a trial that was given up after so many losses: `the worker was lost 3 times: its process ...`."""
    words = list(dict.fromkeys(loss.words for loss in losses if loss.counts))
    count = sum(loss.counts for loss in losses)
    times = {1: "once", 2: "twice"}.get(count, f"{count} times")
    return f"the worker was lost {times}: {'; then '.join(words)}"
