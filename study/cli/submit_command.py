"""`neglora submit`: a study as a job of a cluster, which goes on when this machine is gone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.common import UserError, add_storage_arguments, data_of, user_errors
from study.cli.run_command import add_study_arguments
from study.cli.terminal import plain

if TYPE_CHECKING:
    from study.cluster.submission import JobServer

EPILOG = """\
The code that runs is the one installed here; what it depends on has to be installed on the cluster. Storage, data and
weights are the cluster's: absolute paths that all of its nodes have, or URIs. Its environment holds what they need to
be opened; nothing of this machine's environment is sent. A cluster that asks for a token gets that of RAY_AUTH_TOKEN,
RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token. The exit code with --follow and --attach is that of `neglora run`; Ctrl-C
leaves the job alone. The same study again goes on where it stopped.

examples:
  ssh -N -L 8265:127.0.0.1:8265 HEAD &      the job server listens on the head's loopback
  neglora submit my.yaml --address http://127.0.0.1:8265 --storage s3://my-bucket/runs --follow
  neglora submit --attach my-20261125-174501-ab12 --address http://127.0.0.1:8265
  neglora submit --stop my-20261125-174501-ab12 --address http://127.0.0.1:8265
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE.yaml", type=Path, nargs="?", help="what to study")
    parser.add_argument(
        "--address", required=True, metavar="http://HEAD:8265", help="the cluster's job server, which is its dashboard"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--follow", action="store_true", help="show what the job prints until it ends")
    instead.add_argument("--attach", metavar="JOB", help="follow a job that was submitted before")
    instead.add_argument("--stop", metavar="JOB", help="stop a job, as Ctrl-C would; its finished trials are kept")
    add_study_arguments(parser)
    add_storage_arguments(parser, storage=None, said="none: name what all nodes of the cluster reach")


def main(arguments: argparse.Namespace) -> int:
    from study.cluster.failures import ClusterError
    from study.cluster.submission import open_server, stop

    before = arguments.attach or arguments.stop
    if bool(arguments.space) == bool(before):
        raise UserError("give either a SPACE.yaml to submit, or --attach JOB, or --stop JOB")
    if before:
        with user_errors(ClusterError):
            server = open_server(arguments.address)
            if arguments.attach:
                return _follow(server, arguments.attach)
            stopped = stop(server, arguments.stop)
        _say(f"{arguments.stop} is stopping; finished trials are kept" if stopped else f"{arguments.stop} has ended")
        return 0
    name, plain_space = _checked(arguments)
    options = _options(arguments)
    with user_errors(ClusterError, ValueError):
        server = open_server(arguments.address)
        job = _submit(server, name, plain_space, options)
    where = f"--address {server.address}"
    _say(f"  follow it   neglora submit --attach {job} {where}")
    _say(f"  stop it     neglora submit --stop {job} {where}")
    _say(f"  its report  {_report(arguments.storage, name)}")
    if not arguments.follow:
        return 0
    with user_errors(ClusterError):
        return _follow(server, job)


def _checked(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The name of the study, and its space as plain data with what it includes.

    Data and weights may be on the cluster alone: whether they are there is for the run to say.

    Raises:
        UserError: the space has mistakes; all of them.
    """
    from study.space import SpaceError, load_space
    from study.space.including import read_space
    from study.space.problems import Findings

    data = {name: value for name, value in data_of(arguments).items() if name != "root"}
    with user_errors(SpaceError):
        try:
            load_space(arguments.space, data=data)
        except SpaceError as error:
            others = [problem for problem in error.problems if not problem.of_disk]
            if others:
                raise SpaceError(others) from error
            _say(f"not on this machine, so the cluster will look: {'; '.join(one.path for one in error.problems)}")
        space = read_space(arguments.space, Findings(str(arguments.space)))
    return str(space["study"]), space


def _options(arguments: argparse.Namespace) -> list[str]:
    """The options of `neglora run` on the cluster.

    Raises:
        UserError: a path that means nothing there.
    """
    from neglora.storage import StorageError, is_uri
    from neglora.storage.uri import refuse_secrets

    if arguments.storage is None:
        raise UserError(
            "--storage is missing: give an absolute folder that all nodes of the cluster share, or a URI such as "
            "s3://my-bucket/runs. A job's own folder is thrown away"
        )
    if is_uri(arguments.storage):
        with user_errors(StorageError):
            refuse_secrets(arguments.storage)
    for option, path in (("--storage", arguments.storage), ("--data-root", arguments.data_root)):
        if path is not None and not is_uri(path) and not path.startswith(("/", "~")):
            raise UserError(f"{option} {path}: expected an absolute path, as the nodes of the cluster have it")
    words = ["--storage", arguments.storage]
    words += ["--data-root", arguments.data_root] if arguments.data_root else []
    words += ["--workers", str(arguments.workers)] if arguments.workers else []
    for flag in ("fresh", "retry_failed", "no_verify", "download", "verbose"):
        words += [f"--{flag.replace('_', '-')}"] if getattr(arguments, flag) else []
    return words


def _submit(server: JobServer, name: str, space: dict[str, Any], options: list[str]) -> str:
    from study.cluster.bundle import bundled
    from study.cluster.submission import submit

    with bundled(name, space) as bundle:
        job = submit(server, name, bundle, options)
        _say(f"Job {job}: sent {bundle.bytes / 1e6:.1f} MB of code; it goes on without this machine.")
    return job


def _follow(server: JobServer, job: str) -> int:
    from study.cluster.submission import follow

    try:
        return follow(server, job, _show, _say)
    except KeyboardInterrupt:
        _say(
            f"\nNo longer following; the job goes on. To stop it:\n"
            f"  neglora submit --stop {job} --address {server.address}"
        )
        raise


def _report(storage: str, name: str) -> str:
    from neglora.storage import is_uri

    if is_uri(storage):
        place, mark, options = storage.partition("?")
        return f"neglora report {place.rstrip('/')}/{name}{mark}{options}"
    return f"{storage.rstrip('/')}/{name}/report.html on the cluster"


def _show(text: str) -> None:
    sys.stdout.write(plain(text))
    sys.stdout.flush()


def _say(text: str) -> None:
    print(plain(text), flush=True)
