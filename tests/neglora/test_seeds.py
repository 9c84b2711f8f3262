import hashlib
import subprocess
import sys

import pytest

from neglora.seeds import derive_seed


def test_seed_is_the_first_31_bits_of_the_hash_of_its_path():
    digest = hashlib.sha256(b'[7,"loader",3]').hexdigest()
    assert derive_seed(7, "loader", 3) == int(digest[:8], 16) // 2


def test_streams_are_separate():
    paths = [(root, name, n) for root in range(20) for name in ("order", "weights", "dropout") for n in range(20)]
    seeds = {derive_seed(*path) for path in paths}
    assert len(seeds) == len(paths)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_nested_paths_do_not_run_together():
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc")
    assert derive_seed(1, 2) != derive_seed(1, "2")


def test_another_process_gets_the_same_seed_and_needs_no_torch():
    code = (
        "import sys, neglora.objectives, neglora.record, neglora.provenance, neglora.parameters\n"
        "from neglora.seeds import derive_seed\n"
        "assert 'torch' not in sys.modules\n"
        "print(derive_seed(5, 'holdout', 0.5))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive_seed(5, "holdout", 0.5)


def test_a_part_that_is_not_plain_data_is_refused():
    with pytest.raises(TypeError):
        derive_seed(0, object())
