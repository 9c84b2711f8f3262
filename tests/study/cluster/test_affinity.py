"""Which trial a free worker gets, without a cluster."""

from __future__ import annotations

from types import SimpleNamespace

from study.cluster.affinity import OVERTAKEN, AffinityScheduler, base_of, choose


def trial(model: str, sparsity: float = 0.0, status: str = "PENDING") -> SimpleNamespace:
    task = {"cell": {"dataset": "digits", "model": model}, "params": {"sparsity": sparsity}}
    return SimpleNamespace(config={"task": task}, status=status)


class Waiting:
    """Stands for Tune's controller."""

    def __init__(self, *trials: SimpleNamespace) -> None:
        self.trials = list(trials)

    def get_trials(self) -> list[SimpleNamespace]:
        return self.trials


def test_a_worker_gets_the_first_trial_of_the_base_that_it_holds():
    assert choose(["a", "b", "c", "b"], "b", 0) == 1
    assert choose(["a", "b"], "d", 0) == 0, "nobody waits for it"
    assert choose(["a", "b"], None, 0) == 0, "nothing is known of the worker"
    assert choose([], "a", 0) is None


def test_a_trial_is_overtaken_so_often_and_no_more():
    assert choose(["a", "b"], "b", OVERTAKEN - 1) == 1
    assert choose(["a", "b"], "b", OVERTAKEN) == 0


def test_bases_differ_by_model_and_sparsity():
    assert base_of(trial("vit").config) != base_of(trial("resnet").config)
    assert base_of(trial("vit").config) != base_of(trial("vit", 0.9).config)
    assert base_of(trial("vit").config) == base_of(trial("vit").config)


def test_the_choice_stays_until_it_runs_and_nobody_starves():
    scheduler = AffinityScheduler()
    dense, sparse = trial("vit"), [trial("vit", 0.9) for _ in range(2 * OVERTAKEN)]
    controller = Waiting(trial("resnet", status="TERMINATED"), dense, *sparse)
    assert scheduler.choose_trial_to_run(controller) is dense, "first come, first served"
    scheduler.on_trial_complete(controller, trial("vit", 0.9), {})
    for count in range(OVERTAKEN):
        for _ in range(3):
            assert scheduler.choose_trial_to_run(controller) is sparse[count]
        sparse[count].status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is dense
    dense.status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is sparse[OVERTAKEN]


def test_without_trials_there_is_none():
    assert AffinityScheduler().choose_trial_to_run(Waiting()) is None
