"""`neglora check` tells search spaces, cluster files and manifests apart, and what it thinks of them."""

from pathlib import Path

import pytest

from study.cli import main

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "search_spaces" / "quickstart.yaml"
CLUSTER = ROOT / "cluster.yaml"
RAYJOB = ROOT / "deploy" / "kuberay" / "rayjob.yaml"


def checked(capsys, *files: Path) -> tuple[int, str, str]:
    code = main(["check", *map(str, files)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_each_kind_is_known_by_its_keys(capsys):
    code, out, err = checked(capsys, SPACE, CLUSTER, RAYJOB)
    assert (code, err) == (0, "")
    fine = [line.partition(": fine, ")[2] for line in out.splitlines() if ": fine, " in line]
    assert len(fine) == 3
    assert "trials" in fine[0]
    assert fine[1].startswith("a cluster on aws")
    assert fine[2] == "RayJob for KubeRay"


def test_problems_of_all_files_come_together_with_their_lines(capsys, tmp_path):
    space, cluster, manifest = tmp_path / "space.yaml", tmp_path / "cluster.yaml", tmp_path / "job.yaml"
    space.write_text(SPACE.read_text(encoding="utf-8").replace("trials:", "trails:"), encoding="utf-8")
    cluster.write_text(CLUSTER.read_text(encoding="utf-8").replace("docker:\n", "dockr:\n", 1), encoding="utf-8")
    manifest.write_text(RAYJOB.read_text(encoding="utf-8").replace("mode: token", "mode: disabled"), encoding="utf-8")
    code, out, err = checked(capsys, space, cluster, manifest)
    assert code == 2
    assert "Traceback" not in out + err
    for path, said in [(space, "trails"), (cluster, "did you mean 'docker'"), (manifest, "mode is 'disabled'")]:
        assert f"{path} has " in err
        line = next(line for line in err.splitlines() if said in line)
        assert line.strip().startswith("line ")
        assert f"{path}: fine" not in out


def test_notes_do_not_fail_a_check(capsys):
    code, out, _ = checked(capsys, CLUSTER)
    assert code == 0
    assert "cluster.yaml: note: line " in out


@pytest.mark.parametrize("text", ["", "[1, 2]", "study: [", "nothing: known\n", "\x00", "a: &a [*a]"])
def test_what_is_no_such_file_is_told_as_a_space(capsys, tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    code, _, err = checked(capsys, path)
    assert code == 2
    assert "file.yaml has" in err


def test_a_missing_file_is_told(capsys, tmp_path):
    code, _, err = checked(capsys, tmp_path / "none.yaml")
    assert code == 2
    assert "no such file" in err


def test_help_says_what_is_checked(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for said in ("search space", "cluster", "RayJob", "Nothing is asked of a cloud"):
        assert said in out
