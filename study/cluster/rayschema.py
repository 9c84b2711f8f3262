"""What Ray itself says of a cluster file. The only place that touches Ray's private code for it.

`ray up` has no dry run: it validates, and goes on to launch. Its parts are called here one by one, none of which asks
a cloud or the network.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import io
import json
import logging
from pathlib import Path
from typing import Any

import jsonschema

from study.space.problems import Findings, Place, unknown_name

#: Providers that Ray takes for its own tests or that need no file.
_NO_FILE = ("fake_multinode", "fake_multinode_docker", "readonly", "kuberay", "spark", "external")


def ray_version() -> str:
    """The installed Ray."""
    import ray

    return str(ray.__version__)


def schema() -> dict[str, Any]:
    """The JSON schema of the installed Ray for cluster files."""
    import ray.autoscaler

    text = (Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


def start_options() -> frozenset[str]:
    """Every option of `ray start`, such as `--dashboard-host`."""
    from ray.scripts.scripts import start

    return frozenset(option for parameter in start.params for option in (*parameter.opts, *parameter.secondary_opts))


def check_schema(given: dict[str, Any], findings: Findings) -> dict[str, Any] | None:
    """Note everything in which a cluster file departs from Ray's schema, typos with the nearest key.

    Returns:
        The file with its typos mended, so that the rest of it can be checked, too; None where more than keys is wrong.
    """
    errors = list(jsonschema.Draft7Validator(schema()).iter_errors(given))
    mended: dict[str, Any] | None = copy.deepcopy(given)
    for error in errors:
        place = tuple(error.absolute_path)
        _note(error, place, findings)
        known = _known_keys(error)
        if mended is not None and known:
            _rename(mended, place, sorted(set(error.instance) - set(known)), known, findings)
        else:
            mended = None
    return mended


def _known_keys(error: jsonschema.ValidationError) -> list[str]:
    """What may stand where a key is not known; nothing for another error."""
    if error.validator != "additionalProperties" or not isinstance(error.schema, dict):
        return []
    return list(error.schema.get("properties", {}))


def _rename(mended: dict[str, Any], place: Place, unknown: list[str], known: list[str], findings: Findings) -> None:
    around: Any = mended
    for part in place:
        around = around[part]
    for name in unknown:
        value = around.pop(name)
        near = next((one for one in difflib.get_close_matches(name, known, n=1) if one not in around), None)
        if near is None:
            continue
        around[near] = value
        start = (*place, name)
        for marked, mark in list(findings.marks.items()):
            if marked[: len(start)] == start:
                findings.marks[(*place, near, *marked[len(start) :])] = mark


def prepared(given: dict[str, Any], findings: Findings) -> dict[str, Any] | None:
    """The file as Ray would use it, with the defaults of its provider. None where Ray refuses it, which is noted."""
    import ray.autoscaler  # noqa: F401 - Ray's modules below need it to be imported first
    from ray.autoscaler._private import providers, util

    kind = given.get("provider", {}).get("type")
    usable = sorted(set(providers._NODE_PROVIDERS) - set(_NO_FILE))
    if kind not in usable:
        findings.add(("provider", "type"), unknown_name(kind, usable, "provider"))
        return None
    # Ray's own output on the way, such as a warning for each mounted file, is for `ray up`.
    logger = logging.getLogger("ray.autoscaler")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            config: dict[str, Any] = util.prepare_config(copy.deepcopy(given))
            config.setdefault("cluster_synced_files", [])
            util.validate_config(config)
    except jsonschema.ValidationError as error:
        _note(error, tuple(error.absolute_path), findings)
        return None
    except (
        ValueError,
        AssertionError,
        RuntimeError,
        NotImplementedError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        told = f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        findings.add((), f"Ray refuses it: {told or type(error).__name__}")
        return None
    finally:
        logger.setLevel(level)
    return config


def _note(error: jsonschema.ValidationError, place: Place, findings: Findings) -> None:
    known = _known_keys(error)
    if known:
        for name in sorted(set(error.instance) - set(known)):
            findings.add((*place, name), unknown_name(name, known, "key"))
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        findings.add(place, f"lacks {' and '.join(missing)}")
    else:
        findings.add(place, error.message)
