"""Prometheus and Grafana: the shipped files fit what is published, and a real Prometheus sees what the ledger has."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cluster.metrics import METRICS
from study.ledger import read_ledger

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "neglora.json").read_text())
SCRAPING = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
#: What Prometheus makes of a histogram.
SUFFIXES = {"gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}

SPACE = {
    "study": "watched",
    "datasets": ["digits"],
    "models": ["resnet_nano"],
    "replicates": {"forget": [3], "seeds": [0]},
    "search": {"sampler": "grid", "trials": 3},
    "training": {"epochs": 1},
    "evaluation": {"attacks": "confidence"},
    "methods": {
        "neggrad": {"lr": [1e-4, 1e-3, 1e30, 2e-4, 2e-3]},
        "neglora": {"lr": 1e-2, "rank": [2, 4, 8, 16], "targets": "last.conv+head"},
    },
}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_what_is_published_and_for_all_of_it():
    known = {f"ray_{name}{suffix}": name for name, entry in METRICS.items() for suffix in SUFFIXES[entry.kind]}
    variables = [entry["definition"] for entry in DASHBOARD["templating"]["list"] if entry["type"] == "query"]
    assert len(variables) == 2
    asked: set[str] = set()
    for expression in (*expressions(), *variables):
        names = re.findall(r"ray_\w+", expression)
        assert names, expression
        assert set(names) <= set(known), expression
        asked.update(known[name] for name in names)
        # A label that none of them has selects nothing, or groups by nothing.
        tags = {tag for name in names for tag in METRICS[known[name]].tags} | {"le"}
        grouped = [name.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(",")]
        assert set(grouped) | set(re.findall(r'(\w+)=~"', expression)) <= tags, expression
    assert asked == set(METRICS)


def test_the_dashboard_is_whole():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 8
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        # No data source of somebody's own: the user chooses one at the top.
        assert {entry["datasource"]["uid"] for entry in (panel, *panel["targets"])} == {"${datasource}"}
    assert {entry["name"] for entry in DASHBOARD["templating"]["list"]} == {"datasource", "study", "cell"}


def test_the_scrape_file_reads_the_nodes_that_ray_writes():
    [job] = SCRAPING["scrape_configs"]
    [found] = job["file_sd_configs"]
    assert found["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Prometheus:
    """A running Prometheus, asked through its HTTP interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **values: Any) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(values)}", timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def last(self, name: str, *tags: str) -> dict[tuple[str, ...], float]:
        """The last value that was scraped of every series, whether its run has ended or not."""
        expression = f"max by ({', '.join(tags)}) (last_over_time({name}[1h]))"
        found = self.ask("/api/v1/query", query=expression)["result"]
        return {tuple(one["metric"][tag] for tag in tags): float(one["value"][1]) for one in found}


@contextmanager
def prometheus(folder: Path, nodes: Path) -> Iterator[Prometheus]:
    """Debian's Prometheus with the shipped file, made quick, on loopback."""
    job = SCRAPING["scrape_configs"][0] | {"file_sd_configs": [{"files": [str(nodes)], "refresh_interval": "1s"}]}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    port = free_port()
    command = ["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={folder / 'data'}"], stdout=log, stderr=log)
    try:
        server, deadline = Prometheus(port), time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            try:
                urllib.request.urlopen(f"{server.url}/-/ready", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
                time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def run(folder: Path, temporary: str, **search: Any) -> str:
    """Run the study through the command line, which starts Ray on loopback; its output."""
    space = folder / "watched.yaml"
    space.write_text(yaml.safe_dump(SPACE | {"search": SPACE["search"] | search}))
    environment = os.environ | {
        "CI": "1",
        "TMPDIR": temporary,
        "RAY_worker_niceness": "0",
        # As often as Ray allows, so that the test need not wait for its usual 10 s.
        "RAY_metrics_report_interval_ms": "1000",
        "NEGLORA_METRICS_LINGER": "6",
    }
    command = [sys.executable, "-m", "study.cli", "run", str(space), "--storage", str(folder / "runs")]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output
    return output


@pytest.mark.faults
@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_prometheus_sees_what_the_ledger_has_also_after_a_resume(tmp_path):
    # Ray's sockets need a short path, and its file of nodes should be ours alone.
    temporary = tempfile.mkdtemp(prefix="ng-", dir="/tmp")
    nodes = Path(temporary) / "ray" / "prom_metrics_service_discovery.json"
    started = time.time()
    try:
        with prometheus(tmp_path, nodes) as server:
            for trials in (3, 4):
                output = run(tmp_path, temporary, trials=trials)
                assert "Waiting 6 s for a last scrape" in output
                records = read_ledger(tmp_path / "runs" / "watched")
                ledger = Counter((record.trial.rsplit("-", 1)[0], record.status) for record in records)
                seen = server.last("ray_neglora_trials", "cell", "status")
                assert {key: count for key, count in seen.items() if count} == ledger
                assert ledger["digits-resnet_nano-neglora", "ok"] == trials
                # What Prometheus sees of a histogram that began anew is what the new run found and did.
                counts = server.last("ray_neglora_phase_seconds_count", "phase")
                assert counts["evaluate",] == sum(bool(record.cost["evaluate_seconds"]) for record in records)
                assert counts["prepare",] >= 1
            assert ledger["digits-resnet_nano-neggrad", "diverged"] == 1
            asked = server.last("ray_neglora_trials_asked", "cell")
            assert asked["digits-resnet_nano-neglora",] == 4
            gaps = [record.metrics["gap"] for record in records if "-neglora-" in record.trial]
            assert server.last("ray_neglora_best_gap", "cell")["digits-resnet_nano-neglora",] == pytest.approx(
                min(gaps)
            )
            for expression in expressions():
                plain = expression.replace("$study", "watched").replace("$cell", ".*")
                found = server.ask("/api/v1/query_range", query=plain, start=started, end=time.time(), step=1)
                assert found["result"], plain
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
