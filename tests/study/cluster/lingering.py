"""For workers of a host that will be cut off: their first ascent ends only once another host has taken up its trial.

Imported in every worker before it works. Every attempt notes where it began and ended, on files that all hosts share.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

#: In the environment of a node: where attempts are noted, which host this is, and what makes Ray call `linger`.
FOLDER, HOST = "LINGERING_FOLDER", "LINGERING_HOST"
HOOK = {"__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "lingering.linger"}
#: The host that will be cut off.
CUT = "1"
#: So long from its first ascent on a worker of the other host waits for it.
OTHER_SECONDS = 30.0


def environment(folder: Path, host: int) -> dict[str, str]:
    """For the process that starts a node."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return HOOK | {FOLDER: str(folder), HOST: str(host), "PYTHONPATH": os.pathsep.join(paths)}


def attempts(folder: Path, what: str, host: str = "*") -> list[str]:
    """The learning rates of ascents that began or ended (`what`) on a host; Retrain is not noted."""
    return [path.name.split("_")[2] for path in folder.glob(f"{what}_{host}_*")]


def linger() -> None:
    from neglora import trial

    usual = trial.run_stages
    waits_until: list[float] = []

    def run_stages(session: Any, setting: Any, method: str, params: Any, *rest: Any) -> Any:
        if method == "retrain":
            return usual(session, setting, method, params, *rest)
        folder, host, rate = Path(os.environ[FOLDER]), os.environ[HOST], repr(params["lr"])
        name = f"{host}_{rate}_{uuid.uuid4().hex}"
        (folder / f"begin_{name}").touch()
        # The other host may still be at Retrain, and trials are quick: without waiting there would be none left for it.
        waits_until.append(time.monotonic() + OTHER_SECONDS)
        while host != CUT and not attempts(folder, "begin", CUT) and time.monotonic() < waits_until[0]:
            time.sleep(0.05)
        while host == CUT and not [other for other in attempts(folder, "begin", "0") if other == rate]:
            time.sleep(0.05)
        ran = usual(session, setting, method, params, *rest)
        (folder / f"end_{name}").touch()
        return ran

    trial.run_stages = run_stages
