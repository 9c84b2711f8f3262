"""The `neglora` command. Each command is a file; what it needs is imported when it runs, so that help is quick."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any

from neglora.storage import StorageError
from study.cli.common import UserError
from study.cli.telling import told
from study.cli.terminal import plain

COMMANDS: dict[str, str] = {
    "run": "run a study, or go on with it, and write its report",
    "submit": "send a study to a cluster, where it runs without this machine",
    "status": "say how far a study is",
    "report": "write the report of one or several studies",
    "unlearn": "run one configuration and print its metrics beside base and Retrain",
    "dial": "measure a trial's models along its update, from the base to the full ascent",
    "export": "write the model of a trial, checked against its record",
    "check": "look for mistakes in a search space or a cluster file without running anything",
    "list": "list datasets, models, methods, targets, metrics and samplers",
}

INTERRUPTED = 130
TERMINATED = 143

EPILOG = """\
start here:
  neglora run search_spaces/quickstart.yaml     minutes on a laptop, no download
  neglora status runs/quickstart
  then open reports/quickstart.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0, 1 (the run failed), 2 (a user's mistake), 130 (Ctrl-C) or 143 (SIGTERM).
    """
    arguments = _parser().parse_args(argv)
    terminated = threading.Event()

    def terminate(*_: Any) -> None:
        # Handled like Ctrl-C. Ray turns whatever is raised while it waits into a plain KeyboardInterrupt.
        terminated.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        with told():
            return int(arguments.function(arguments) or 0)
    except (UserError, StorageError) as error:
        print(plain(f"neglora: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return TERMINATED if terminated.is_set() else INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; closing stderr keeps Python from complaining at exit.
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neglora",
        description="Hyperparameter studies of machine unlearning: which method removes a class best, with which "
        "settings, at what price.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"neglora {metadata.version('neglora')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        module = import_module(f"study.cli.{name}_command")
        command = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(function=module.main)
    return parser
