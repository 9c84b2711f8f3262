"""Hosts of one machine reach one another, and don't once their link is cut."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.namespaces import Host, hosts, why_not

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 7007), timeout=2).close()"
LISTEN = (
    "import socket, sys; server = socket.create_server((sys.argv[1], 7007)); print('up', flush=True)\n"
    "while True: server.accept()[0].close()"
)


def reaches(host: Host, other: Host) -> bool:
    return host.run(sys.executable, "-c", CONNECT, other.address).returncode == 0


def test_a_cut_host_is_out_of_reach_until_it_is_restored_and_nothing_is_left(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    log = tmp_path / "listener"
    with hosts(2) as network:
        first, second = network.hosts
        listener = subprocess.Popen(
            first.command(sys.executable, "-c", LISTEN, first.address), stdout=subprocess.PIPE, text=True
        )
        assert listener.stdout is not None
        assert listener.stdout.readline() == "up\n"
        assert reaches(second, first)
        network.cut(second)
        assert not reaches(second, first)
        assert reaches(first, first)
        network.restore(second)
        assert any(reaches(second, first) for _ in range(10))
        sleeper = second.start("sleep", "600", log=log)
    assert listener.wait(timeout=10) != 0
    assert sleeper.wait(timeout=10) != 0
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not {network.switch, first.name, second.name} & set(listed.split())
