"""What is told of a lost worker, from texts as Ray 2.60 words them."""

from __future__ import annotations

import pytest

from study.cluster.losses import Loss, loss_of, told

DIED = "\n".join(
    (
        "Failure # 1 (occurred at 2026-11-25_17-40-13)",
        "The actor died unexpectedly before finishing this task.",
        "\tclass_name: TrialWorker",
        "\tactor_id: 8bdcc438bb331bdb491523ab01000000",
        "\tpid: 28439",
        "\tip: 10.0.0.7",
        "The actor is dead because {}",
    )
)
SYSTEM = "its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
NO_MEMORY = (
    "OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7"
    ", ID: a37e6c) was 30.37GB used / 31.54GB limit (0.963)\nOOM kill reason: Memory usage 1B over 1B\n"
    "Selected to kill: (Actor(552b): job ID=01000000, pid=28814, actual memory used=12.45GB, worker ID=f46c)"
)
RAISED = (
    "The actor died because of an error raised in its creation task, ray::TrialWorker.__init__() (pid=1)\n"
    '  File "workers.py", line 1, in setup\n    import torch\n'
    "ModuleNotFoundError: No module named 'torch'"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            DIED.format(f"{SYSTEM}Worker unexpectedly exits with a connection error code 2. End of file. Some causes"),
            "its process on 10.0.0.7 died: killed (SIGKILL, as the kernel does when memory runs out) or crashed",
        ),
        (
            DIED.format(f"{SYSTEM}Worker exits with an exit code 1. The process receives a SIGTERM."),
            "its process on 10.0.0.7 was stopped (SIGTERM)",
        ),
        (
            DIED.format(f"{SYSTEM}Worker exits unexpectedly. Worker exits with an exit code 4."),
            "its process on 10.0.0.7 ended with exit code 4",
        ),
        (
            DIED.format("its node has died. Node Id: 42. the actor's node was terminated unexpectedly: health check"),
            "its machine 10.0.0.7 was lost",
        ),
        (
            NO_MEMORY,
            "Ray's out-of-memory killer ended it, since its machine was short of memory "
            "(30.37GB of 31.54GB used, 12.45 GB by this worker)",
        ),
        (RAISED, "it could not work: ModuleNotFoundError: No module named 'torch'"),
        (
            "The actor af11 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed",
            "its process could not be reached any more: its machine is gone or cut off",
        ),
        ("ObjectLostError: the result is gone", "ObjectLostError: the result is gone"),
        ("", "Ray gives no reason"),
    ],
)
def test_a_loss_in_words(text, words):
    assert loss_of(text) == Loss(words)


def test_a_worker_that_leaves_of_itself_costs_nothing():
    text = DIED.format("its worker process has died. Worker exit type: INTENDED_USER_EXIT exit_actor() is called.")
    assert not loss_of(text).counts


def test_losses_that_count_are_told_each_kind_once():
    killed, stopped, left = Loss("it was killed"), Loss("it was stopped"), Loss("it left", counts=False)
    assert told([killed]) == "the worker was lost once: it was killed"
    assert told([killed, left, killed]) == "the worker was lost twice: it was killed"
    assert told([killed, stopped, killed]) == "the worker was lost 3 times: it was killed; then it was stopped"
