"""One study from space to ledger: prepare, then one Ray Tune run over all cells; and so once more elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from neglora.data import parse_forget
from neglora.kept import keep_adapters
from neglora.prerequisites import Prerequisite, needed
from study.cluster.conductor import Conductor, Recorded
from study.cluster.connection import Cluster, connected, sharing
from study.cluster.metrics import metered
from study.cluster.missing import missing
from study.cluster.sharing import share_of_gpu, unmeasured
from study.cluster.tasks import Tasks
from study.ledger import LedgerWriter
from study.place import Place
from study.progress import Progress
from study.search import CellSearch
from study.space import Space
from study.surroundings import setting_of

#: Trials that wait for a worker. A deep queue lets a worker that is starting keep its trial (see `Rendezvous`).
PENDING = 16


@dataclass(frozen=True)
class RunOptions:
    """How to run, beside what the space says.

    Attributes:
        storage: of artifacts and studies: an absolute folder, or a URI.
        address: of a Ray cluster; None starts one here.
        workers: at most so many trials at once.
        verbose: show what Ray prints.
    """

    storage: str
    address: str | None = None
    workers: int | None = None
    verbose: bool = False


def prerequisites_of(space: Space) -> list[Prerequisite]:
    """Everything that the study's trials start from or are compared with."""
    found, plain = [], space.resolved()
    for dataset in space.datasets:
        info = setting_of(plain, dataset, space.models[0]).dataset_info()
        forgets = [parse_forget(info, forget) for forget in plain["replicates"]["forget"]]
        for model in space.models:
            found += needed(
                setting_of(plain, dataset, model),
                forgets=forgets,
                seeds=list(space.replicates.seeds),
                sparsities=list(space.sparsities(dataset, model)),
            )
    return found


def searches_of(space: Space, ledger: LedgerWriter) -> list[CellSearch]:
    """A search per cell, rebuilt from the ledger."""
    by_cell: dict[str, list[Any]] = {}
    for record in ledger.records:
        by_cell.setdefault(record.trial.rsplit("-", 1)[0], []).append(record)
    searches = []
    for cell in space.cells():
        search = CellSearch(
            cell,
            sampler=space.search.sampler,
            objectives=tuple(space.objectives),
            constraints=space.resolved()["constraints"],
            seed=space.search.seed,
            batch=space.search.batch,
            snapshots=space.search.snapshots,
        )
        search.restore(by_cell.get(cell.id, []))
        searches.append(search)
    return searches


def run_study(
    space: Space, ledger: LedgerWriter, options: RunOptions, progress: Progress, recorded: Recorded | None = None
) -> None:
    """Run what the ledger does not hold yet: searches, what is measured in full after them, what is tried elsewhere.

    Args:
        space: what to study.
        ledger: open for writing; every finished trial is appended.
        options: where and how.
        progress: told about everything.
        recorded: told all records whenever one was written.

    Raises:
        ClusterError: no cluster, or one that cannot give what a trial asks for.
        DataError: a dataset is missing or damaged.
        PreparationError: a prerequisite could not be made.
        LedgerError: the ledger can no longer be written.
        StorageError: a storage on a URI cannot be read or written.
    """
    study_dir = Place(options.storage, space.study).folder
    tasks = Tasks(space, study_dir)
    conductor = Conductor(
        searches_of(space, ledger),
        ledger,
        tasks.searched,
        progress,
        recorded=recorded,
        retries=space.failures.retries,
        keep=partial(keep_adapters, study_dir),
        rounds=tasks.rounds_in_full(),
    )
    if not conductor.remaining and not tasks.left_elsewhere(ledger.records):
        progress.say("Every trial is in the ledger: nothing to run.")
        return
    # Data that is missing is told before a cluster is waited for.
    prerequisites = prerequisites_of(space)
    absent = missing(prerequisites, options.storage, progress)
    progress.preparation(len(prerequisites), len(absent))
    with (
        connected(
            options.address,
            cpus=space.resources.cpus,
            gpus=space.resources.gpus,
            workers=options.workers,
            group=space.training.workers or 1,
            verbose=options.verbose,
            name=space.study,
        ) as cluster,
        metered(progress, space, ledger.records) as progress,
        _guarded(space, ledger, options, progress),
    ):
        conductor.progress, conductor.limit = progress, cluster.limit
        if cluster.dashboard:
            asks = f" (it asks for the token in {cluster.token})" if cluster.token else ""
            progress.say(f"Ray dashboard: {cluster.dashboard}{asks}")
        _prepare(absent, space, cluster, options, progress)
        shared = _shared(space, conductor, cluster, options)
        _run(space, conductor, shared, options)
        if tasks.left_elsewhere(ledger.records):
            prerequisites = tasks.prerequisites_elsewhere(ledger.records)
            absent = missing(prerequisites, options.storage, progress)
            progress.preparation(len(prerequisites), len(absent))
            _prepare(absent, space, cluster, options, progress)
            conductor.rounds = tasks.rounds_elsewhere()
            _run(space, conductor, shared, options)


def _prepare(
    absent: Sequence[Prerequisite], space: Space, cluster: Cluster, options: RunOptions, progress: Progress
) -> None:
    # Imported here, since connecting sets what Ray reads when it is imported.
    from study.cluster.preparation import prepare

    prepare(
        absent,
        options.storage,
        cpus=space.resources.cpus,
        gpus=cluster.gpus,
        slots=cluster.slots,
        retries=space.failures.retries,
        progress=progress,
    )


def _run(space: Space, conductor: Conductor, cluster: Cluster, options: RunOptions) -> None:
    """Everything that the conductor has to hand out.

    Raises:
        ClusterError, LedgerError: what ended it before.
    """
    if conductor.remaining:
        _tune(space, conductor, cluster, options)
    if conductor.fatal:
        raise conductor.fatal
    if conductor.remaining:
        conductor.progress.say(f"{conductor.remaining} trials were not run; the same command goes on with them")


def _shared(space: Space, conductor: Conductor, cluster: Cluster, options: RunOptions) -> Cluster:
    """The cluster with the share of a GPU that each trial gets, for which the first ones are measured if need be.

    Raises:
        ClusterError, LedgerError: what ended that.
    """
    if space.resources.gpus != "auto":
        return cluster
    if not cluster.gpus:
        conductor.progress.say("resources.gpus is auto, and no node has a GPU: trials run without")
        return cluster
    going = {search.cell.id for search in conductor.searches if not search.done}
    conductor.first = unmeasured([cell for cell in space.cells() if cell.id in going], conductor.ledger.records)
    if conductor.first:
        conductor.progress.say("resources.gpus is auto: the first trial of each method has a GPU of its own")
        _run(space, conductor, cluster, options)
    conductor.first = None
    share = share_of_gpu(conductor.ledger.records)
    conductor.progress.say(share.words)
    shared = sharing(
        cluster, address=options.address, cpus=space.resources.cpus, gpus=share.gpus, workers=options.workers
    )
    conductor.limit = shared.limit
    return shared


@contextmanager
def _guarded(space: Space, ledger: LedgerWriter, options: RunOptions, progress: Progress) -> Iterator[None]:
    """Be the only one who runs the study on the cluster, on nodes that can take part; end kindly when it is lost.

    Raises:
        ClusterError: another driver runs it, or a node cannot take part.
    """
    # Imported here, since connecting sets what Ray reads when it is imported.
    from study.cluster.claim import claimed
    from study.cluster.lost import watched
    from study.cluster.nodes import check_nodes

    def lost(gone: str) -> None:
        progress.close()
        progress.say(
            f"{gone} was lost: {len({one.trial for one in ledger.records})} finished trials are in the ledger, and the "
            "same command goes on"
        )

    with watched(lost):
        if options.address is None:
            yield
            return
        with claimed(options.storage, space.study):
            check_nodes(options.storage, space.study)
            yield


def _tune(space: Space, conductor: Conductor, cluster: Cluster, options: RunOptions) -> None:
    """One Tune run over all cells, whose own files nobody reads and which are removed afterwards."""
    import ray
    from ray import tune

    from study.cluster.affinity import AffinityScheduler
    from study.cluster.controller import our_tune
    from study.cluster.rendezvous import Rendezvous
    from study.cluster.searcher import INBOXES, LIVE, ConductedCallback, ConductedSearcher, StopWhenFatal, Unspoken
    from study.cluster.waiting import WaitingCallback
    from study.cluster.workers import TrialWorker

    name = f"{space.study}-{uuid.uuid4().hex[:8]}"
    expected = min(cluster.slots, conductor.remaining)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(PENDING, 2 * cluster.slots))
    # On this machine, since Tune's own workers write nothing there, and nobody reads it.
    scratch = tempfile.mkdtemp(prefix="neglora-tune-")
    surroundings = {"storage": options.storage, "rendezvous": f"rendezvous of {name}"}
    # Workers find it by its name, for as long as it is held here.
    meeting = ray.remote(num_cpus=0)(Rendezvous).options(name=surroundings["rendezvous"]).remote(expected)
    LIVE[name] = conductor
    try:
        cpus, gpus = space.resources.cpus, cluster.gpus
        worker = tune.with_resources(TrialWorker, {"CPU": cpus, "GPU": gpus})
        # What the dashboard calls it, in place of Tune's wrappers.
        worker.__qualname__ = TrialWorker.__qualname__
        tuner = tune.Tuner(
            worker,
            tune_config=tune.TuneConfig(
                search_alg=ConductedSearcher(name, surroundings),
                scheduler=AffinityScheduler(),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=scratch,
                stop=StopWhenFatal(name),
                callbacks=[ConductedCallback(name), WaitingCallback(name, cpus, gpus), Unspoken()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                # The conductor hands lost trials out again.
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        with our_tune():
            tuner.fit()
    finally:
        # What has arrived is written, however this ends.
        INBOXES[name].empty(conductor)
        del INBOXES[name], LIVE[name], meeting
        shutil.rmtree(scratch, ignore_errors=True)


def _trial_name(trial: Any) -> str:
    return str(trial.config["task"]["trial"])
