"""What is shipped for AWS: the template of roles, and `ray up` of the cluster file against moto's AWS."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from tests.s3 import serving

ROOT = Path(__file__).parents[1]
ROLES = ROOT / "deploy" / "aws" / "roles.yaml"

#: Stands for ssh: writes down what it was asked to run on the node, and answers as a fresh machine with a GPU would.
SSH = """\
#!/bin/bash
asked="${@: -1}"
printf '%s\\n' "$asked" >> "$RECORD"
case "$asked" in
  *.Config.Env*) echo '["HOME=/home/ray"]' ;;
  *"printenv HOME"*) echo /home/ray ;;
  *.State.Running*) if grep -q "docker run" "$RECORD"; then echo true; else echo false; fi ;;
  *"info -f"*) echo 'map[nvidia:{nvidia-container-runtime []}]' ;;
  *"command -v docker"*) echo /usr/bin/docker ;;
esac
"""
RSYNC = """\
#!/bin/bash
printf 'rsync %s %s\\n' "${@: -2:1}" "${@: -1}" >> "$RECORD"
"""


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short functions as plain mappings."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: {suffix: loader.construct_scalar(node)})


def roles() -> dict:
    return yaml.load(ROLES.read_text(encoding="utf-8"), Loader=Loader)["Resources"]


def allowed(role: str) -> set[str]:
    policies = roles()[role]["Properties"]["Policies"]
    actions = [line["Action"] for policy in policies for line in policy["PolicyDocument"]["Statement"]]
    return {name for action in actions for name in ([action] if isinstance(action, str) else action)}


def test_workers_may_read_the_bucket_and_nothing_else():
    assert allowed("WorkerRole") == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


def test_the_head_may_write_the_bucket_and_end_only_what_is_of_its_cluster():
    assert "s3:PutObject" in allowed("HeadRole")
    assert not any("*" in action for action in allowed("HeadRole"))
    lines = [
        line
        for policy in roles()["HeadRole"]["Properties"]["Policies"]
        for line in policy["PolicyDocument"]["Statement"]
    ]
    ending = next(line for line in lines if "ec2:TerminateInstances" in line["Action"])
    assert ending["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": {"Ref": "Cluster"}}}
    passing = next(line for line in lines if line["Action"] == "iam:PassRole")
    assert passing["Resource"] == {"GetAtt": "WorkerRole.Arn"}


def test_the_cluster_file_names_the_roles_of_the_template():
    types = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))["available_node_types"]
    named = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in types.values()}
    made = {
        one["Properties"]["InstanceProfileName"]
        for one in roles().values()
        if one["Type"] == "AWS::IAM::InstanceProfile"
    }
    assert named == made == {"neglora-head", "neglora-worker"}


@pytest.mark.faults
def test_cloudformation_would_take_the_template():
    api = pytest.importorskip("cfnlint.api")
    matches = api.lint_all(ROLES.read_text(encoding="utf-8"))
    assert [str(match) for match in matches if match.rule.id.startswith(("E", "W"))] == []


def reaching(uri: str) -> list[subprocess.CompletedProcess[str]]:
    """Run what the cluster file runs on the head to see whether the storage is reached."""
    loaded = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    commands = [*loaded["setup_commands"], *loaded["head_setup_commands"]]
    asked = [command.replace("python", sys.executable, 1) for command in commands if command.startswith("python -c")]
    environment = os.environ | {"NEGLORA_STORAGE": uri}
    return [
        subprocess.run(["bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        for command in asked
    ]


@pytest.mark.faults
def test_setup_sees_whether_the_storage_is_reached(s3):
    done = reaching(s3.uri())
    assert [(one.returncode, one.stderr) for one in done] == [(0, ""), (0, "")]
    assert [method for method, path in s3.requests if path.endswith(".reached")][-2:] == ["PUT", "DELETE"]


@pytest.mark.faults
def test_setup_stops_with_the_reason_where_the_role_may_not(s3):
    s3.denied.add("closed")
    listing, writing = reaching(s3.uri(bucket="closed"))
    assert listing.returncode != 0
    assert writing.returncode != 0
    assert "StorageError" in listing.stderr
    assert "cannot be listed" in listing.stderr
    assert "cannot be written" in writing.stderr


def executable(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.faults
def test_ray_up_launches_the_shipped_cluster_and_ray_down_ends_it(tmp_path):
    """Ray's own launcher, with moto for AWS and a stub for ssh: whole requests, commands in order, no secret told."""
    programs, home, record = tmp_path / "bin", tmp_path / "home", tmp_path / "record"
    programs.mkdir()
    home.mkdir()
    executable(programs / "ssh", SSH)
    executable(programs / "rsync", RSYNC)
    with serving() as server:
        access = {
            "endpoint_url": server.endpoint,
            "region_name": "us-west-2",
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
        }
        iam, ec2 = boto3.client("iam", **access), boto3.client("ec2", **access)
        for name in ("neglora-head", "neglora-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        environment = os.environ | {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "HOME": str(home),
            "TMPDIR": str(tmp_path),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RECORD": str(record),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

        def ray(*words: str) -> str:
            command = [sys.executable, "-m", "ray.scripts.scripts", *words]
            done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        token = ray("get-auth-token", "--generate").strip()
        said = ray("up", "--yes", "--no-config-cache", "cluster.yaml")
        nodes = [node for part in ec2.describe_instances()["Reservations"] for node in part["Instances"]]
        asked = record.read_text(encoding="utf-8")
        said += ray("down", "--yes", "cluster.yaml")
        states = {node["State"]["Name"] for p in ec2.describe_instances()["Reservations"] for node in p["Instances"]}
    (head,) = nodes
    assert head["InstanceType"] == "m6i.large"
    assert {"Key": "ray-cluster-name", "Value": "neglora"} in head["Tags"]
    container = next(line for line in asked.splitlines() if "docker run" in line)
    for part in (
        "-e RAY_AUTH_MODE=token",
        "--ulimit nofile=65536:65536",
        "--shm-size=2g",
        ":/home/ray/.ray/auth_token",
    ):
        assert part in container
    order = [
        "/.ray/auth_token",
        "docker pull rayproject/ray:",
        "docker run",
        "pip install",
        ".names(",
        ".write(",
        "ray start --head",
    ]
    places = [asked.index(part) for part in order]
    assert places == sorted(places)
    assert '{"CPU":0}' in asked
    assert token
    assert token not in asked + said
    assert states == {"terminated"}
