"""How many trials a connection has room for, on nodes that are said to be there."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from study.cluster import connection
from study.cluster.connection import connected
from study.cluster.failures import ClusterError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A Ray of as many CPUs as are asked for, and of 8 where one is joined; what it was started with."""
    asked: dict[str, Any] = {}
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(connection, "prepare", lambda address: False)
    monkeypatch.setattr(connection, "tell_ray", lambda: None)
    monkeypatch.setattr(connection, "_usable_cpus", lambda: 8)
    monkeypatch.setattr(connection, "can_grow", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options) or SimpleNamespace(dashboard_url=None))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": asked.get("num_cpus", 8)}}])
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return asked


@pytest.mark.parametrize(
    ("cpus", "workers", "group", "slots", "limit"),
    [
        (1, None, 1, 8, None),
        (1, 2, 1, 2, None),
        (1, 20, 1, 8, None),
        # Half a CPU is wanted and a whole one started, where two trials would fit.
        (0.5, 1, 1, 1, 1),
        (0.5, 2, 1, 2, None),
        (1, 1, 4, 1, 1),
        (1, 4, 4, 4, None),
    ],
)
def test_no_more_trials_at_once_than_workers_here(
    started: dict[str, Any], cpus: float, workers: int | None, group: int, slots: int, limit: int | None
) -> None:
    with connected(None, cpus=cpus, gpus=0, workers=workers, verbose=False, group=group) as cluster:
        assert (cluster.slots, cluster.limit) == (slots, limit)
    assert started["address"] == "local"


def test_a_cluster_that_is_joined_may_grow_and_is_limited(started: dict[str, Any]) -> None:
    with connected("auto", cpus=1, gpus=0, workers=20, verbose=False) as cluster:
        assert (cluster.slots, cluster.limit) == (8, 20)
    with connected("auto", cpus=1, gpus=0, workers=None, verbose=False) as cluster:
        assert (cluster.slots, cluster.limit) == (8, None)
    assert started["address"] == "auto"


def test_what_is_started_here_asks_for_a_token_unless_the_user_says_otherwise(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with connected(None, cpus=1, gpus=0, workers=1, verbose=False) as cluster:
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert cluster.token == str(tmp_path / "token")
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with connected(None, cpus=1, gpus=0, workers=1, verbose=False) as cluster:
        assert cluster.token is None
    assert started["dashboard_host"] == "127.0.0.1"


def test_the_proxy_of_ray_s_client_is_refused_with_what_to_give() -> None:
    with (
        pytest.raises(ClusterError, match=r"ray://head:10001: .* the head's HOST:6379; .* `neglora submit"),
        connected("ray://head:10001", cpus=1, gpus=0, workers=None, verbose=False),
    ):
        raise AssertionError("it was joined")


@pytest.mark.parametrize("address", ["10.0.0.1", "http://10.0.0.1:8265", "nonsense"])
def test_an_address_of_another_form_is_told_with_the_expected_one(address: str) -> None:
    with (
        pytest.raises(ClusterError, match=rf"^--address {address}: .*expected 'auto', or the HOST:PORT of"),
        connected(address, cpus=1, gpus=0, workers=None, verbose=False),
    ):
        raise AssertionError("it was joined")
