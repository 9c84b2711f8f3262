"""Whether a cluster is there and lets us in: asked in a second, before Ray tries for minutes; and why not, in words."""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import Any

import grpc  # type: ignore[import-untyped]

from study.cluster.failures import ClusterError
from study.cluster.token import MODE, how_to_give, read_token, token_place

#: Seconds to wait for the cluster's first answer.
PATIENCE = 15.0
#: What every cluster answers to whoever may ask.
_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_VERSIONS = re.compile(r"(?P<program>Ray|Python): (?P<version>\S+)")


class Answer(Enum):
    """What a cluster said."""

    OPEN = "it lets us in"
    CLOSED = "it asks for a token, or for another one"
    SILENT = "there is none"


def prepare(address: str) -> bool:
    """Show the token to a cluster that asks for one; do nothing for one that does not.

    Args:
        address: `auto` or `HOST:PORT`.

    Returns:
        Whether it asks for a token.

    Raises:
        ClusterError: there is no cluster, it asks for a token and there is none, it is the wrong one, or the address is
            that of a proxy for Ray's client, beyond which Tune would run without this process.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"--address {address}: no study runs through Ray's client. On a machine of the cluster give 'auto', or "
            "the head's HOST:6379; from elsewhere `neglora submit --address http://HEAD:8265` sends it there"
        )
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return os.environ.get(MODE, "").lower() == "token"
    where = _found(address)
    mode = os.environ.get(MODE, "").lower()
    token = None if mode == "disabled" else read_token()
    answer = ask(where, None)
    if answer is Answer.SILENT:
        raise ClusterError(
            f"no Ray cluster answers at {where}: is the address that of its head (port 6379 unless it was started "
            "with another), is it up (`ray status` on the head), and does a firewall let this machine through?"
        )
    if answer is Answer.OPEN:
        # A process that asks others for a token cannot work with nodes that send none.
        if mode == "token":
            raise ClusterError(
                f"{MODE} is token here, but the Ray cluster at {where} asks for none: set {MODE}=token where the "
                f"cluster is started, or {MODE}=disabled here"
            )
        os.environ[MODE] = "disabled"
        return False
    if token is None:
        told = f"but {MODE}=disabled is set here" if mode == "disabled" else "and there is none"
        raise ClusterError(f"the Ray cluster at {where} asks for a token, {told}: {how_to_give()}")
    if ask(where, token) is not Answer.OPEN:
        raise ClusterError(f"the Ray cluster at {where} refuses the token in {token_place()}: {how_to_give()}")
    os.environ[MODE] = "token"
    return True


def ask(address: str, token: str | None) -> Answer:
    """Ask the cluster at `HOST:PORT` who it is.

    Raises:
        ClusterError: something else answers there.
    """
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        question = channel.unary_unary(_QUESTION, request_serializer=bytes, response_deserializer=bytes)
        try:
            question(b"", metadata=metadata, timeout=PATIENCE, wait_for_ready=False)
        except grpc.RpcError as error:
            code: Any = error.code()
            if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return Answer.CLOSED
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return Answer.SILENT
            raise ClusterError(
                f"what answers at {address} is no Ray cluster of a version that this one knows ({code.name})"
            ) from error
    return Answer.OPEN


def in_words(where: str, error: BaseException) -> str:
    """Why Ray could not be started or joined; `where` is which."""
    text = str(error).strip()
    if "ersion mismatch" in text:
        versions = [f"{found['program']} {found['version']}" for found in _VERSIONS.finditer(text)]
        theirs, ours = " and ".join(versions[:2]), " and ".join(versions[2:4])
        return (
            f"{where} runs {theirs}, this command {ours or 'another one'}: both have to be the same. Use an "
            "environment with the cluster's versions, or send the study there with `neglora submit`"
        )
    if "uthenticat" in text + repr(error.__cause__):
        return f"{where} refuses this token, or has another one than when it was asked: {how_to_give()}"
    return f"cannot reach {where}: {text or type(error).__name__}"


def _found(address: str) -> str:
    """`HOST:PORT` of the address that people gave.

    Raises:
        ClusterError: no cluster runs on this machine.
    """
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address, None)
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            f"--address {address}: {str(error).splitlines()[0]}; expected 'auto', or the HOST:PORT of the cluster's "
            "head such as 10.0.0.1:6379 (its http address is for `neglora submit`)"
        ) from error
    if not found:
        raise ClusterError(
            f"--address {address}: no Ray cluster runs on this machine. Start one (`ray start --head`), give the "
            "HOST:PORT of one, or leave --address out to start Ray here"
        )
    return str(found)
