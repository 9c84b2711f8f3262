"""The shipped cluster file is fine, every mistake in one is found where it stands, and the network is not asked."""

import socket
from pathlib import Path

import pytest
import yaml

from study.cluster import rayschema
from study.cluster.clusterfile import Checked, check_cluster
from study.space import SpaceError

SHIPPED = Path(__file__).parents[3] / "cluster.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")

#: Without docker, in the way of Ray's own documentation: the token's mode in every shell's profile.
PLAIN = """\
cluster_name: plain
provider: {type: gcp, region: us-west1, availability_zone: us-west1-a, project_id: some-project}
max_workers: 2
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 0}
    node_config: {machineType: n1-standard-2}
  worker:
    min_workers: 0
    resources: {CPU: 4, GPU: 1}
    node_config:
      machineType: n1-standard-4
      guestAccelerators: [{acceleratorType: nvidia-tesla-t4, acceleratorCount: 1}]
file_mounts: {/home/ubuntu/.ray/auth_token: ~/.ray/auth_token}
initialization_commands:
  - echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc
setup_commands:
  - pip install 'ray[default]==RAY' neglora
  - sudo mount -t nfs4 10.0.0.2:/share /share
  - NEGLORA_STORAGE=/share/neglora neglora list
head_start_ray_commands:
  - ulimit -n 65536; ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml
worker_start_ray_commands:
  - ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379
"""


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever opens a connection or looks up a name fails; and nobody has credentials."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def check(tmp_path: Path, text: str) -> Checked:
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    for name in ("neglora", "study"):
        (tmp_path / name).mkdir(exist_ok=True)
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text(f"ray=={rayschema.ray_version()}\n", encoding="utf-8")
    return check_cluster(path)


def edited(*edits: tuple[str, str], text: str = TEXT) -> str:
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def opened(first: int, last: int) -> tuple[str, str]:
    """The edit that opens ports to the world."""
    rule = f"{{FromPort: {first}, ToPort: {last}, IpRanges: [{{CidrIp: 0.0.0.0/0}}]}}"
    return "  region:", f"  security_group: {{IpPermissions: [{rule}]}}\n  region:"


def plain(*edits: tuple[str, str]) -> str:
    return edited(*edits, text=PLAIN.replace("RAY]", "").replace("==RAY", f"=={rayschema.ray_version()}"))


def line_of(text: str, part: str) -> int:
    return next(index for index, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_shipped_file_is_fine():
    checked = check_cluster(SHIPPED)
    assert checked.problems == ()
    assert "aws" in checked.about
    assert any("my-bucket" in str(warning) for warning in checked.warnings)


def test_five_lines_are_marked_in_their_order():
    marks = [int(line.split("# ")[1][0]) for line in TEXT.splitlines() if " of 5" in line and not line.startswith("#")]
    assert marks == [1, 2, 3, 4, 5]


def test_the_shipped_file_has_no_secret_and_runs_the_pinned_ray():
    loaded = yaml.safe_load(TEXT)
    pinned = (SHIPPED.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    version = next(line.partition("==")[2] for line in pinned if line.startswith("ray=="))
    assert loaded["docker"]["image"].startswith(f"rayproject/ray:{version}-py311")
    assert loaded["available_node_types"]["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_what_is_mounted_exists_in_this_checkout():
    mounts = [source for source in yaml.safe_load(TEXT)["file_mounts"].values() if not source.startswith("~")]
    assert len(mounts) >= 5
    assert all((SHIPPED.parent / source).exists() for source in mounts)


def test_a_file_without_docker_is_fine(tmp_path):
    checked = check(tmp_path, plain())
    assert [str(problem) for problem in checked.problems] == []


#: An edit of the shipped file, what stands in the line that is blamed, and what is said of it.
WRONG = [
    # Ray's schema and rules.
    ([("idle_timeout_minutes", "idle_timeout_minute")], "idle_timeout_minute", "did you mean 'idle_timeout_minutes'"),
    ([("min_workers: 0", "min_worker: 0")], "min_worker: 0", "did you mean 'min_workers'"),
    ([("max_workers: 4", "max_workers: four")], "max_workers: four", "'four' is not of type 'integer'"),
    ([("  container_name: neglora\n", "")], None, "container & image name"),
    ([("head_node_type: head", "head_node_type: heads")], None, "head_node_type"),
    ([("type: aws", "type: asw")], "type: asw", "did you mean 'aws'"),
    ([("    min_workers: 0", "    min_workers: 9")], None, "smaller than the sum"),
    # Starting.
    (
        [("--metrics-export-port=8080 --dis", "--metric-export-port=8080 --dis")],
        None,
        "did you mean '--metrics-export-port'",
    ),
    ([("--autoscaling-config=~/ray_bootstrap_config.yaml", "")], None, "no worker would ever be launched"),
    ([("ray start --address=$RAY_HEAD_IP:6379", "ray start")], None, "needs --address"),
    ([("ray start --head", "ray start")], None, "needs --head"),
    ([("ray start --address=$RAY_HEAD_IP:6379 --object", "echo --object")], "worker_start_ray_commands", "never join"),
    (
        [("- ray stop\n  - >-\n    ray start --address", "- 'ray stop\n  - >-\n    ray start --address")],
        None,
        "not valid YAML",
    ),
    ([("- rm -rf /tmp/neglora &&", "- rm -rf '/tmp/neglora &&")], "rm -rf '/tmp", "no shell can read it"),
    # Access.
    ([("-e RAY_AUTH_MODE=token", "-e TZ=UTC")], None, "nothing sets RAY_AUTH_MODE"),
    ([("-e RAY_AUTH_MODE=token", "-e RAY_AUTH_MODE=disabled")], None, "RAY_AUTH_MODE is 'disabled'"),
    ([("ray start --address", "RAY_AUTH_MODE=disabled ray start --address")], None, "RAY_AUTH_MODE is 'disabled'"),
    ([("  ~/.ray/auth_token: ~/.ray/auth_token\n", "")], "file_mounts", "lacks the token's file"),
    (
        [("-e RAY_AUTH_MODE=token", "-e RAY_AUTH_MODE=token -e RAY_AUTH_TOKEN=abc")],
        "RAY_AUTH_TOKEN",
        "holds RAY_AUTH_TOKEN",
    ),
    ([("- ray stop", "- AWS_SECRET_ACCESS_KEY=abc ray stop")], "AWS_SECRET_ACCESS_KEY", "holds AWS_SECRET_ACCESS_KEY"),
    (
        [("-e RAY_AUTH_MODE=token", "-e TZ=UTC"), ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0")],
        None,
        "listen on 0.0.0.0, and no token",
    ),
    (
        [
            ("-e RAY_AUTH_MODE=token", "-e TZ=UTC"),
            opened(1, 9000),
        ],
        "IpPermissions",
        "open to everybody on the internet, and no token",
    ),
    # Storage.
    ([("s3://my-bucket/neglora", "runs")], "NEGLORA_STORAGE=runs", "a folder of one node"),
    ([("s3://my-bucket/neglora", "/home/ray/runs")], "NEGLORA_STORAGE=/home", "nothing mounts a file system there"),
    ([("s3://my-bucket/neglora", "file:///runs")], "NEGLORA_STORAGE=file", "file:// of each node"),
    ([("head_setup_commands:", "head_setup_commands:\n  - neglora run a.yaml")], "neglora run", "storage 'runs'"),
    # Resources.
    ([("resources: {CPU: 0}", "resources: {}")], "resources: {}", "CPU of the head is not set"),
    ([("resources: {CPU: 0}", "resources: {CPU: 2}")], "resources: {CPU: 2}", "CPU of the head is 2"),
    ([("InstanceType: m6i.large", "InstanceType: g5.xlarge")], "resources: {CPU: 0}", "GPU of the head is not set"),
    ([("resources: {GPU: 1}", "resources: {CPU: 4}")], "resources: {CPU: 4}", "says no GPU, but g5.xlarge has"),
    ([("resources: {GPU: 1}", "resources: {GPU: 0}")], "resources: {GPU: 0}", "GPU is 0, but g5.xlarge has"),
    # Versions.
    ([("ray:2.60.0-py311-gpu", "ray:2.54.0-py311-gpu")], "image:", "has Ray 2.54.0, this machine"),
    ([("ray:2.60.0-py311-gpu", "ray:latest-gpu")], "image:", "another one tomorrow"),
    ([("ray:2.60.0-py311-gpu", "ray:2.60.0-py310-gpu")], "image:", "Python 3.10, and neglora needs 3.11"),
    (
        [("  container_name", "  worker_image: rayproject/ray:2.60.0-py312-gpu\n  container_name")],
        "image: rayproject",
        "different Pythons",
    ),
    ([("- pip install ", "- pip install 'ray[default]==2.59.0' ")], None, "different Rays"),
    # AWS.
    ([("region: us-west-2", "region: us-west-22")], "region: us-west-22", "did you mean 'us-west-2'"),
    ([("  region:", "  availability_zone: eu-west-1a\n  region:")], "availability_zone", "is not in us-west-2"),
    ([("{MarketType: spot}", "{MarketTyp: spot}")], "MarketTyp:", "did you mean 'MarketType'"),
    ([("VolumeSize: 150", "VolumeSize: big")], "VolumeSize: big", "expected a value of type integer"),
    ([("      InstanceType: m6i.large\n", "")], None, "lacks InstanceType"),
    ([("      IamInstanceProfile: {Name: neglora-worker} #", "      #")], None, "could not read the storage"),
]


@pytest.mark.parametrize(("edits", "where", "said"), WRONG, ids=[said[:30] for _, _, said in WRONG])
def test_a_mistake_is_found_where_it_stands(tmp_path, edits, where, said):
    text = edited(*edits)
    try:
        problems = check(tmp_path, text).problems
    except SpaceError as error:
        problems = error.problems
    found = [problem for problem in problems if said in problem.message]
    assert found, [str(problem) for problem in problems]
    if where is not None:
        assert line_of(text, where) in {problem.line for problem in found}


ODD = [
    ([("  cache_stopped_nodes: false\n", "")], "disks paid for"),
    ([("    - --shm-size=2g\n", "    - --memory=6g\n")], "has no --shm-size"),
    ([("    - --ulimit nofile=65536:65536\n", "")], "nofile=65536:65536"),
    ([("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0")], "not encrypted"),
    ([("    - -e NEGLORA_STORAGE=s3://my-bucket/neglora", "    - -e TZ=UTC")], "no storage is named"),
    ([("InstanceType: g5.xlarge", "InstanceType: g5.xlagre")], "did you mean 'g5.xlarge'"),
    ([("      ImageId: *image\n", "")], "too old for CUDA 13"),
    ([("rayproject/ray:2.60.0-py311-gpu", "me/own:1.0")], "does not say its Ray and Python"),
    ([("~/neglora/study: study", "~/neglora/study: studdy")], "there is no studdy here"),
    (
        [
            opened(1, 9000),
        ],
        "name your own addresses",
    ),
]


@pytest.mark.parametrize(("edits", "said"), ODD, ids=[said[:30] for _, said in ODD])
def test_what_is_odd_is_told_and_no_problem(tmp_path, edits, said):
    checked = check(tmp_path, edited(*edits))
    assert [str(problem) for problem in checked.problems] == []
    assert any(said in warning.message for warning in checked.warnings), checked.warnings


FINE = [
    # A token's mode in the command itself, exported before it, or in the profile of the container.
    [("-e RAY_AUTH_MODE=token", "-e TZ=UTC"), ("ray start ", "RAY_AUTH_MODE=token ray start ")],
    [("-e RAY_AUTH_MODE=token", "-e TZ=UTC"), ("ray start ", "export RAY_AUTH_MODE=token; ray start ")],
    [
        ("-e RAY_AUTH_MODE=token", "-e TZ=UTC"),
        ("setup_commands:\n  - rm", "setup_commands:\n  - echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc\n  - rm"),
    ],
    [("-e RAY_AUTH_MODE=token", "-e RAY_AUTH_MODE=token -e RAY_AUTH_TOKEN_PATH=/t/a"), ("~/.ray/auth_token: ", "/t: ")],
    # The head's CPUs by option; no security group but for SSH; a mounted file system in the container.
    [("resources: {CPU: 0}", "resources: {}"), ("ray start --head", "ray start --head --num-cpus=0")],
    [
        opened(22, 22),
    ],
    [
        ("s3://my-bucket/neglora", "/share/runs"),
        ("initialization_commands:", "initialization_commands:\n  - sudo mount -t efs fs-1:/ /mnt/efs"),
        ("    - --ulimit", "    - -v /mnt/efs/a:/share\n    - --ulimit"),
    ],
    [("s3://my-bucket", "gs://some-bucket")],
    [("rayproject/ray:2.60.0-py311-gpu", "1.dkr.ecr.us-west-2.amazonaws.com/neglora:0.1.0-ray2.60.0-py311")],
    [("head_setup_commands:", "head_setup_commands:\n  - neglora run a.yaml --storage $NEGLORA_STORAGE")],
]


@pytest.mark.parametrize("edits", FINE)
def test_other_ways_to_say_the_same_are_fine(tmp_path, edits):
    assert [str(problem) for problem in check(tmp_path, edited(*edits)).problems] == []


def test_a_profile_of_the_machine_does_not_reach_the_container(tmp_path):
    text = edited(
        ("-e RAY_AUTH_MODE=token", "-e TZ=UTC"),
        ("initialization_commands:", "initialization_commands:\n  - echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"),
    )
    assert any("nothing sets RAY_AUTH_MODE" in problem.message for problem in check(tmp_path, text).problems)


def test_a_folder_that_nothing_mounts_is_refused_without_docker_too(tmp_path):
    text = plain(("  - sudo mount -t nfs4 10.0.0.2:/share /share\n", ""))
    assert any("nothing mounts a file system" in problem.message for problem in check(tmp_path, text).problems)


def test_rays_defaults_count_where_the_file_says_nothing(tmp_path):
    """Left out, the head's commands are Ray's, which listen on every address."""
    start = TEXT.index("head_start_ray_commands:")
    text = edited(("-e RAY_AUTH_MODE=token", "-e TZ=UTC"), text=TEXT[:start])
    messages = [problem.message for problem in check(tmp_path, text).problems]
    assert any("listen on 0.0.0.0" in message for message in messages)


def test_all_problems_come_at_once_also_beside_a_typo(tmp_path):
    text = edited(
        ("setup_commands:\n  - rm", "setup_command:\n  - rm"),
        ("s3://my-bucket/neglora", "runs"),
        ("ray:2.60.0", "ray:2.50.0"),
        ("region: us-west-2", "region: us-west-3"),
    )
    messages = "\n".join(problem.message for problem in check(tmp_path, text).problems)
    for said in ("did you mean 'setup_commands'", "storage 'runs'", "Ray 2.50.0", "unknown region"):
        assert said in messages


def test_constraints_of_another_ray_are_found(tmp_path):
    path = tmp_path / "cluster.yaml"
    check(tmp_path, TEXT)
    (tmp_path / "constraints.txt").write_text("ray==2.41.0\n", encoding="utf-8")
    assert any("constraints.txt has Ray 2.41.0" in problem.message for problem in check_cluster(path).problems)


def test_a_token_that_others_may_read_is_told(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    token = home / ".ray" / "auth_token"
    token.write_text("a" * 32, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    token.chmod(0o644)
    assert any("chmod 600" in warning.message for warning in check(tmp_path, TEXT).warnings)
    token.chmod(0o600)
    assert not any("auth_token" in str(warning) for warning in check(tmp_path, TEXT).warnings)
    token.unlink()
    assert any("get-auth-token --generate" in warning.message for warning in check(tmp_path, TEXT).warnings)


@pytest.mark.parametrize(
    "text", ["", "- a list\n", "cluster_name: [\n", "a: &a [*a]\n", "x: !!python/object:os.system y\n"]
)
def test_what_is_no_cluster_file_is_said(tmp_path, text):
    with pytest.raises(SpaceError, match="problem"):
        check(tmp_path, text)


@pytest.mark.parametrize("odd", ["1", "[a]", "{a: 1}", "~"])
def test_run_options_that_are_no_texts_are_told(tmp_path, odd):
    text = edited(("    - --shm-size=2g", f"    - {odd}"))
    assert any("expected texts as run options" in problem.message for problem in check(tmp_path, text).problems)


def test_a_machine_of_ones_own_needs_no_mount_here(tmp_path):
    text = """\
cluster_name: own
provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}
auth: {ssh_user: me}
file_mounts: {/home/me/.ray/auth_token: ~/.ray/auth_token}
setup_commands: ["echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc", "neglora run a.yaml --storage /shared/runs"]
head_start_ray_commands:
  - "ulimit -n 65536; ray start --head --num-cpus=0 --autoscaling-config=~/ray_bootstrap_config.yaml"
worker_start_ray_commands:
  - "ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379"
"""
    assert [str(problem) for problem in check(tmp_path, text).problems] == []
