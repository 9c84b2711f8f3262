"""The shipped RayJob: KubeRay's definition takes it, our rules find nothing, and each rule finds what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from study.cluster.clusterfile import Checked
from study.cluster.rayjob import check_manifest
from study.space import SpaceError

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "deploy" / "kuberay" / "rayjob.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
#: KubeRay's published definition; it stays outside the project.
DEFINITION = ROOT.parent / "shared" / "schemas" / "ray.io_rayjobs.yaml"
PINNED = {
    name.partition("==")[0]: name.partition("==")[2]
    for name in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
}


def documents(text: str = TEXT) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def rayjob(text: str = TEXT) -> dict[str, Any]:
    (found,) = [one for one in documents(text) if one["kind"] == "RayJob"]
    return found


def check(tmp_path: Path, *edits: tuple[str, str]) -> tuple[str, Checked]:
    text = TEXT
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / "rayjob.yaml"
    path.write_text(text, encoding="utf-8")
    return text, check_manifest(path)


def closed(schema: Any) -> Any:
    """The schema with every object closed to keys that it does not name, as `kubectl --validate=strict` has it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        inner["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        inner = {"type": ["integer", "string"]}
    return inner


def definition() -> Any:
    if not DEFINITION.exists():
        pytest.skip(f"KubeRay's definition is not at {DEFINITION}")
    versions = yaml.load(DEFINITION.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]["versions"]
    (v1,) = [one for one in versions if one["name"] == "v1"]
    schema = closed(v1["schema"]["openAPIV3Schema"])
    # What every object has, and the definition leaves to Kubernetes.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def test_kuberays_definition_takes_it_and_finds_typos():
    validator = jsonschema.Draft7Validator(definition())
    assert [error.message for error in validator.iter_errors(rayjob())] == []
    for old, new in [
        ("enableInTreeAutoscaling", "enableInTreeAutoscaler"),
        ("maxReplicas", "maxReplica"),
        ("emptyDir", "emptyDirs"),
        ("mode: token", "mode: tokens"),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: maybe"),
    ]:
        assert old in TEXT
        assert list(validator.iter_errors(rayjob(TEXT.replace(old, new)))), new


def test_our_rules_find_nothing_in_it():
    checked = check_manifest(SHIPPED)
    assert checked.problems == ()
    assert "RayJob" in checked.about
    assert any("my-bucket" in str(warning) for warning in checked.warnings)


def test_it_is_closed_pinned_and_stored_for_all():
    spec = rayjob()["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == PINNED["ray"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert re.search(r"--storage [a-z0-9]+://", spec["entrypoint"])
    assert "hostPort" not in TEXT
    assert "NodePort" not in TEXT
    templates = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [one["template"]["spec"] for one in templates]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 1
    assert f"ray{PINNED['ray']}-py311" in images.pop()
    accounts = {one["metadata"]["name"] for one in documents() if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in pods} == accounts == {"neglora-head", "neglora-worker"}
    assert all(pod["securityContext"]["runAsNonRoot"] is True for pod in pods)
    assert [group["minReplicas"] for group in cluster["workerGroupSpecs"]] == [0]


def test_its_image_is_built_from_the_pinned_ray():
    recipe = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE=rayproject/ray:{PINNED['ray']}-py311-gpu" in recipe
    assert f"'{PINNED['ray']}'" in recipe
    copied = [word for line in recipe.splitlines() if line.startswith("COPY") for word in line.split()[2:-1]]
    assert {"neglora", "study", "pyproject.toml", "constraints.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER [1-9]\d*$", recipe, re.MULTILINE)


def test_five_lines_are_marked_in_their_order():
    assert [int(found) for found in re.findall(r"# (\d) of 5\b(?! and)", TEXT.partition("apiVersion")[2])] == [
        1,
        2,
        3,
        4,
        5,
    ]


ACCESS = [
    ("mode: token", "mode: disabled", "mode is 'disabled'"),
    ("serviceType: ClusterIP", "serviceType: NodePort", "NodePort opens the dashboard"),
    ("serviceType: ClusterIP", "serviceType: LoadBalancer", "LoadBalancer opens the dashboard"),
    ("serviceType: ClusterIP", "enableIngress: true", "beyond the cluster"),
    ("containerPort: 8265}", "containerPort: 8265, hostPort: 8265}", "hostPort 8265"),
    ("serviceAccountName: neglora-head", "hostNetwork: true", "listen on the machine itself"),
    ("RAY_USAGE_STATS_ENABLED, value", "RAY_AUTH_TOKEN, value", "refer to a Secret"),
    ("RAY_USAGE_STATS_ENABLED, value", "AWS_SECRET_ACCESS_KEY, value", "refer to a Secret"),
    ("RAY_USAGE_STATS_ENABLED, value", "RAY_AUTH_MODE, value", "against authOptions"),
    ("        runAsNonRoot: true", "        runAsNonRoot: false", "may run as root"),
]
REST = [
    ("rayVersion: 2.60.0", "rayVersion: 2.52.0", "got 2.52.0"),
    ("ray2.60.0-py311", "ray2.55.0-py311", "has Ray 2.55.0"),
    ("neglora:0.1.0-ray2.60.0-py311", "neglora:latest", "another one tomorrow"),
    ("image: *image", "image: registry.example.com/other:1-ray2.60.0-py311", "different images"),
    ("--storage s3://my-bucket/neglora", "--storage /study/runs", "a folder of one pod"),
    ("--storage s3://my-bucket/neglora", "", "storage 'runs'"),
    ("--address auto ", "", "lacks --address auto"),
    ("entrypoint: neglora run", "entrypoint: python run", "expected 'neglora run"),
    ('num-cpus: "0"', 'num-cpus: "2"', "beside the driver"),
    ("maxReplicas: 4", "maxReplicas: -1", "expected at least 0"),
]


@pytest.mark.parametrize(("old", "new", "said"), ACCESS + REST, ids=[said for _, _, said in ACCESS + REST])
def test_a_mistake_is_found_where_it_stands(tmp_path, old, new, said):
    _, checked = check(tmp_path, (old, new))
    found = [problem for problem in checked.problems if said in problem.message]
    assert found, [str(problem) for problem in checked.problems]
    assert all(problem.line is not None and problem.line > 20 for problem in found)


def test_the_line_is_that_of_the_file_and_not_of_its_document(tmp_path):
    text, checked = check(tmp_path, ("serviceType: ClusterIP", "serviceType: NodePort"))
    (problem,) = checked.problems
    assert problem.line is not None
    assert "serviceType: NodePort" in text.splitlines()[problem.line - 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("enableInTreeAutoscaling: true", "enableInTreeAutoscaling: false", "as many as replicas says"),
        ("medium: Memory, sizeLimit: 4Gi", "sizeLimit: 4Gi", "no memory at /dev/shm"),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false", "paid for"),
        (', nvidia.com/gpu: "1"', "", "asks for no GPU"),
        ("registry.example.com/neglora:0.1.0-ray2.60.0-py311", "r.io/neglora:7", "does not say its Ray"),
    ],
)
def test_what_is_odd_is_told_and_no_problem(tmp_path, old, new, said):
    _, checked = check(tmp_path, (old, new))
    assert checked.problems == ()
    assert any(said in warning.message for warning in checked.warnings), checked.warnings


@pytest.mark.parametrize("odd", ["~", "1", "text", "[1]", "{a: 1}"])
@pytest.mark.parametrize(
    "part", ["mode: token", "serviceType: ClusterIP", "minReplicas: 0", "maxReplicas: 4", "rayVersion: 2.60.0"]
)
def test_values_of_another_kind_are_read_without_a_fall(tmp_path, part, odd):
    _, checked = check(tmp_path, (part, f"{part.partition(':')[0]}: {odd}"))
    assert all(problem.line for problem in checked.problems)
    if part.startswith(("mode", "rayVersion")):
        assert checked.problems


def test_a_manifest_of_something_else_is_said(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("apiVersion: v1\nkind: Pod\n", encoding="utf-8")
    assert any("holds none of RayJob" in problem.message for problem in check_manifest(path).problems)


def test_a_second_document_that_is_no_yaml_is_placed_in_the_file(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("apiVersion: v1\nkind: Pod\n---\nkind: [\n", encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        check_manifest(path)
    assert caught.value.problems[0].line in (4, 5)
