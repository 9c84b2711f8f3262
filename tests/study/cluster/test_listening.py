"""What a local run opens to others: ports on loopback alone, and a job server that asks for the token."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CODE = """
import sys
from study.cluster.connection import connected
with connected(None, cpus=1, gpus=0, workers=1, verbose=False) as cluster:
    print(cluster.dashboard, flush=True)
    sys.stdin.read()
"""
LISTENING = "0A"
#: 127.0.0.1, ::1 and ::ffff:127.0.0.1 as the kernel writes them.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def listening(session: int) -> dict[str, set[str]]:
    """The addresses at which processes of a session listen, by port."""
    inodes = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING:
                inodes[words[9]] = words[1].split(":")
    found: dict[str, set[str]] = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(process)) != session:
                continue
            files = [os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue  # it has ended since it was listed
        for file in files:
            socket = re.fullmatch(r"socket:\[(\d+)\]", file)
            if socket and socket[1] in inodes:
                address, port = inodes[socket[1]]
                found.setdefault(port, set()).add(address)
    return found


def status_of(url: str, token: str | None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into /proc")
def test_a_local_run_listens_on_loopback_and_asks_for_a_token(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env=clean | {"HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        dashboard = process.stdout.readline().strip()
        assert dashboard.startswith("http://127.0.0.1:")
        ports = listening(process.pid)
        assert len(ports) > 3
        assert {address for addresses in ports.values() for address in addresses} <= LOOPBACK
        file = tmp_path / ".ray" / "auth_token"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert status_of(f"{dashboard}/api/jobs/", None) == 401
        assert status_of(f"{dashboard}/api/jobs/", "another") == 403
        assert status_of(f"{dashboard}/api/jobs/", file.read_text()) == 200
        process.communicate("", timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
