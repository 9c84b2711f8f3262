"""Setting a study on a URI aside: its objects are copied to a dated name, then removed.

What is being moved where stands in an object, so that whoever comes after a crash finishes it before anything else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from neglora.storage import ObjectStorage, StorageError, is_name
from study.ledger import LOCK

#: Names where a study's objects are being moved to, within the study.
MARK = ".moved-to"
#: The first to go: without it a study is none.
SPACE = "study.yaml"
#: Requests at once.
AT_ONCE = 16


def move_objects(storage: ObjectStorage, study: str, target: str) -> bool:
    """Move all objects of a study, which the caller has locked; False where there are none.

    Args:
        storage: of studies.
        study: its name.
        target: the name that its objects get. Where a move to another one was under way, that one is finished.

    Raises:
        StorageError: they cannot be moved; the next call goes on.
    """
    if not _moving(storage, study):
        return False
    storage.write_new(f"{study}/{MARK}", target.encode())
    return finish_move(storage, study) is not None


def finish_move(storage: ObjectStorage, study: str) -> str | None:
    """Finish a move that was begun, if any: the name that the objects have now.

    Raises:
        StorageError: they cannot be moved, or the mark is not ours.
    """
    try:
        target = storage.read(f"{study}/{MARK}").decode(errors="replace")
    except FileNotFoundError:
        return None
    # Whoever can write the mark names what is written to: only a name beside the study's.
    if not is_name(target) or "/" in target or not target.startswith(f"{study}."):
        raise StorageError(f"{storage.title}/{study}/{MARK} names {target!r}, which is no study set aside: remove it")
    names = _moving(storage, study)

    def copy(name: str) -> None:
        storage.write(f"{target}/{name}", storage.read(f"{study}/{name}"))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, names))
        storage.delete(f"{study}/{SPACE}")
        list(pool.map(storage.delete, [f"{study}/{name}" for name in names]))
    storage.delete(f"{study}/{MARK}")
    return target


def _moving(storage: ObjectStorage, study: str) -> list[str]:
    names = [name[len(study) + 1 :] for name in storage.names(study)]
    return [name for name in names if name != MARK and name != LOCK and not name.startswith(f"{LOCK}.")]
