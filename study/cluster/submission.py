"""A study as a job of a cluster: sent through its job server, followed, and stopped. It needs nobody to watch it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import requests
from packaging.version import InvalidVersion, Version

from study.cluster.bundle import SUBMITTED, Bundle
from study.cluster.failures import ClusterError
from study.cluster.token import MODE, how_to_give, read_token, token_place

#: The oldest Ray that this project runs on (pyproject.toml).
OLDEST_RAY = Version("2.55")
#: Seconds to wait for an answer of the job server.
PATIENCE = 20.0
#: Seconds of silence after which the connection of a log is taken for dead and made anew.
SILENCE = 60.0
#: Seconds between attempts, the last for all that follow, and how long a server may be away in all.
PAUSES, AWAY = (1.0, 2.0, 5.0, 10.0, 30.0), 15 * 60.0

ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
#: What shells say of a program that they do not find.
NOT_FOUND = 127

Say = Callable[[str], None]


@dataclass(frozen=True)
class JobServer:
    """A job server that lets us in.

    Attributes:
        address: `http://HEAD:8265`.
        ray: the version of its Ray.
        headers: what it is shown; holds the token, which no `repr` shows.
    """

    address: str
    ray: str
    headers: dict[str, str] = field(repr=False)

    def get(self, path: str) -> requests.Response:
        """
        Raises:
            requests.RequestException: no answer.
        """
        return _get(self.address + path, self.headers)


@dataclass(frozen=True)
class JobState:
    """What the server knows of a job: its status, the exit code of its driver (None while there is none), a remark."""

    status: str
    code: int | None
    message: str | None


class UnknownJob(ClusterError):
    """The job server does not know a job of this name."""


def open_server(address: str) -> JobServer:
    """The job server at an address. The token is sent only to one that asks for it.

    Raises:
        ClusterError: nothing answers there, it is no job server, its Ray is too old, or it does not let us in.
    """
    _check_address(address)
    address, headers = address.rstrip("/"), dict[str, str]()
    answer = _version(address, headers)
    if answer.status_code == 401:
        if os.environ.get(MODE, "").lower() == "disabled":
            raise ClusterError(f"{address} asks for a token, but {MODE}=disabled is set here: {how_to_give()}")
        token = read_token()
        if token is None:
            raise ClusterError(f"{address} asks for a token, and there is none: {how_to_give()}")
        headers = {"Authorization": f"Bearer {token}"}
        answer = _version(address, headers)
        if answer.status_code in (401, 403):
            raise ClusterError(f"{address} refuses the token in {token_place()}: {how_to_give()}")
    try:
        ray = str(answer.json()["ray_version"]) if answer.status_code == 200 else ""
        old = Version(ray) < OLDEST_RAY
    except (ValueError, KeyError, TypeError, InvalidVersion):
        raise ClusterError(
            f"what answers at {address} is no job server of Ray (status {answer.status_code}): give the address of the "
            "head's dashboard, http://HEAD:8265"
        ) from None
    if old:
        raise ClusterError(f"the cluster at {address} runs Ray {ray}: this project needs {OLDEST_RAY} or newer there")
    return JobServer(address, ray, headers)


def submit(server: JobServer, name: str, bundle: Bundle, options: Sequence[str]) -> str:
    """Send a study.

    Args:
        server: where to.
        name: of the study, which the job is called after.
        bundle: code and space.
        options: of `neglora run`, as the cluster understands them.

    Returns:
        The job's id, such as `quickstart-20261125-174501-ab12`.

    Raises:
        ClusterError: the server does not take it.
    """
    job = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    words = ["python", "-m", "study.cli", "run", bundle.space, "--address", "auto", *options]
    try:
        return str(
            _client(server).submit_job(
                entrypoint=shlex.join(words),
                runtime_env={"working_dir": str(bundle.folder), "env_vars": {SUBMITTED: "1"}},
                metadata={"job_name": name},
                submission_id=job,
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"{server.address} did not take the job: {error}") from error


def follow(server: JobServer, job: str, show: Callable[[str], None], say: Say) -> int:
    """Show what a job prints until it has ended. Lost connections are made anew, and nothing is shown twice.

    Args:
        server: where it runs.
        job: its id.
        show: takes what it prints, piece by piece.
        say: takes what there is to tell of the connection and of the end.

    Returns:
        The exit code of the driver: that of `neglora run`; 1 where it has none.

    Raises:
        ClusterError: the server does not know the job, or has been away for too long.
    """
    state = asyncio.run(_follow(server, job, show, say))
    if state.code == NOT_FOUND:
        say("the cluster found no `python`: start Ray from the environment in which this project is installed")
    if state.status == "STOPPED":
        say(f"job {job} was stopped")
    elif state.code is None and state.status == "FAILED":
        say(f"job {job} failed: {state.message or 'Ray gives no reason'}")
    if state.code is None:
        return 0 if state.status == "SUCCEEDED" else 1
    return state.code if state.code >= 0 else 128 - state.code


def stop(server: JobServer, job: str) -> bool:
    """Ask a job to stop, as Ctrl-C would; whether it was running.

    Raises:
        ClusterError: the server does not know it, or does not answer.
    """
    if job_state(server, job).status in ENDED:
        return False
    try:
        return bool(_client(server).stop_job(quote(job, safe="")))
    except (RuntimeError, OSError) as error:
        raise ClusterError(f"{server.address} did not stop {job}: {error}") from error


def job_state(server: JobServer, job: str) -> JobState:
    """
    Raises:
        UnknownJob: the server does not know it; the message names those that it knows.
        ClusterError: the server does not answer.
    """
    try:
        answer = server.get(f"/api/jobs/{quote(job, safe='')}")
        if answer.status_code == 404:
            raise UnknownJob(f"{server.address} knows no job {job!r}; {_known(server)}")
        answer.raise_for_status()
        told = answer.json()
        return JobState(str(told["status"]), told.get("driver_exit_code"), told.get("message"))
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{server.address} does not tell how {job} is: {_short(error)}") from error


async def _follow(server: JobServer, job: str, show: Callable[[str], None], say: Say) -> JobState:
    """Until the job has ended and all that it printed was shown."""
    client = _client(server)
    seen, failures, away_since = 0, 0, None
    while True:
        received = 0
        lost: str | None = None
        tail = client.tail_job_logs(quote(job, safe=""))
        try:
            while True:
                text = await asyncio.wait_for(anext(tail), SILENCE)
                # A log is always sent from its beginning.
                new = text[max(0, seen - received) :]
                received += len(text)
                if new:
                    seen = received
                    show(new)
                if failures:
                    failures, away_since = 0, None
                    say("connected again")
        except (StopAsyncIteration, TimeoutError):
            # At its end, or quiet for long: the state tells which.
            await tail.aclose()
        except (aiohttp.ClientError, RuntimeError, OSError) as error:
            lost = _short(error)
        try:
            state = await asyncio.to_thread(job_state, server, job)
            if lost is None and state.status in ENDED:
                return state
        except UnknownJob as error:
            raise ClusterError(
                f"{error}. If its head was started anew, submit the study again: it goes on where it was"
            ) from error
        except ClusterError as error:
            lost = lost or str(error)
        if lost is None and failures:
            # A job that prints nothing has nothing to send.
            failures, away_since = 0, None
            say("connected again")
        if lost is not None:
            now = time.monotonic()
            away_since = now if away_since is None else away_since
            if now - away_since > AWAY:
                raise ClusterError(
                    f"{server.address} has been away for {AWAY / 60:.0f} minutes; the job may go on: {lost}"
                )
            if not failures:
                say(f"the connection is lost, trying again; the job goes on: {lost}")
            failures += 1
        await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1] if failures else PAUSES[0])


def _client(server: JobServer) -> Any:
    """Ray's own, which sends files and follows logs."""
    # Without it Ray would talk to what `RAY_ADDRESS` names, whatever it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = server.address
    from ray.job_submission import JobSubmissionClient

    # Its own loggers tell of every file and connection; that of `ray` is set up anew when Ray starts to log.
    for name in ("ray.dashboard", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(server.address, headers=dict(server.headers))
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(f"{server.address} does not answer: {error}") from error


def _check_address(address: str) -> None:
    """Ray imports a module that the address names where it is none of the web."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ClusterError(
            f"--address {address}: expected the address of the cluster's job server, http://HEAD:8265"
            + (" (`neglora run` takes this one)" if "://" not in address else "")
        )
    if parts.username or parts.password or parts.query:
        raise ClusterError("--address holds a user, a password or a question mark: expected http://HEAD:8265")


def _version(address: str, headers: dict[str, str]) -> requests.Response:
    try:
        return _get(address + "/api/version", headers)
    except requests.RequestException as error:
        raise ClusterError(
            f"no job server answers at {address} ({_short(error)}). It listens where the dashboard does, on the head's "
            "loopback unless asked: `ssh -L 8265:127.0.0.1:8265 HEAD`, then --address http://127.0.0.1:8265"
        ) from error


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    # A redirect could carry the token elsewhere.
    return requests.get(url, headers=headers, timeout=PATIENCE, allow_redirects=False)


def _known(server: JobServer) -> str:
    """The jobs of a server, in words."""
    answer = server.get("/api/jobs/")
    answer.raise_for_status()
    names = [str(job["submission_id"]) for job in answer.json() if job.get("submission_id")]
    return f"it knows {', '.join(names[-10:])}" if names else "it knows none"


def _short(error: BaseException) -> str:
    """One line about what broke, without addresses in memory."""
    if isinstance(error, requests.Timeout):
        return f"no answer for {PATIENCE:.0f} s"
    if isinstance(error, requests.ConnectionError):
        text = str(error)
        for sign in ("Connection refused", "Name or service not known", "No route to host", "unreachable", "closed"):
            if sign.lower() in text.lower():
                return sign.lower()
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
