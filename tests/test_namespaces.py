"""Hosts of one machine reach one another, and don't once their link is cut."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.namespaces import Network, hosts, why_not

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 7007), timeout=2).close()"
LISTEN = (
    "import socket, sys; server = socket.create_server((sys.argv[1], 7007)); print('up', flush=True)\n"
    "while True: server.accept()[0].close()"
)


def reaches(network: Network, host: int, other: int) -> bool:
    command = [sys.executable, "-c", CONNECT, network.address(other)]
    return network.run(host, command, capture_output=True).returncode == 0


def test_a_cut_host_is_out_of_reach_until_it_is_restored_and_nothing_is_left():
    if reason := why_not():
        pytest.skip(reason)
    with hosts(2) as network:
        command = [sys.executable, "-c", LISTEN, network.address(0)]
        listener = network.popen(0, command, stdout=subprocess.PIPE, text=True)
        assert listener.stdout.readline() == "up\n"
        assert reaches(network, 1, 0)
        network.cut(1)
        assert not reaches(network, 1, 0)
        assert reaches(network, 0, 0)
        network.restore(1)
        assert any(reaches(network, 1, 0) for _ in range(10))
        sleeper = network.popen(1, ["sleep", "600"], start_new_session=True)
    assert listener.wait(timeout=10) != 0
    assert sleeper.wait(timeout=10) != 0
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not {network.switch, *network.names} & set(listed.split())
