"""Faults for workers of real clusters: imported there before they work, and steered by a configuration's batch size.

    30      runs as ever
    31      is killed with its process, each time
    32      runs out of memory once
    33      runs out of memory each time
    34      is killed with its process once
    35      runs well, and its process is killed a moment later, while it waits or works for another trial
    36      takes memory until somebody ends it

Every attempt notes when it began and ended, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

#: In the environment: where attempts are noted, and what makes Ray call `hurt` in every worker.
FOLDER = "HURTING_FOLDER"
HOOK = {"__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "hurting.hurt"}
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 512.00 MiB is "
    "free. Including non-PyTorch memory, this process has 78.50 GiB memory in use."
)


def environment(folder: Path) -> dict[str, str]:
    """For the process that starts the cluster."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return HOOK | {FOLDER: str(folder), "PYTHONPATH": os.pathsep.join(paths)}


def attempts(folder: Path) -> list[dict[str, Any]]:
    """What was noted: batch size, process, begin and end (None if it never ended)."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("attempt-*.json"))]


#: Bytes that a trial takes in vain before it gives up.
GREED = 6 * 2**30


def take_memory() -> None:
    taken = []
    while sum(map(len, taken)) < GREED:
        taken.append(bytearray(b"x") * (100 * 2**20))
        time.sleep(0.1)
    raise RuntimeError("nobody ended a trial that took all that memory")


def hurt() -> None:
    import torch

    from neglora import trial

    usual = trial.run_stages

    def run_stages(session: Any, setting: Any, method: str, params: Any, *rest: Any) -> Any:
        folder, size = Path(os.environ[FOLDER]), params["batch_size"]
        begin = time.monotonic()
        note = folder / f"attempt-{begin:.6f}-{os.getpid()}.json"
        told = {"batch_size": size, "pid": os.getpid(), "begin": begin, "end": None}
        first = len([each for each in attempts(folder) if each["batch_size"] == size]) == 0
        note.write_text(json.dumps(told))
        try:
            # Long enough for others to be there.
            time.sleep(0.3)
            if size == 31 or (size == 34 and first):
                os.kill(os.getpid(), signal.SIGKILL)
            if size == 33 or (size == 32 and first):
                raise torch.OutOfMemoryError(OUT_OF_MEMORY)
            if size == 36:
                take_memory()
            ran = usual(session, setting, method, params, *rest)
            if size == 35:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return ran
        finally:
            note.write_text(json.dumps(told | {"end": time.monotonic()}))

    trial.run_stages = run_stages
