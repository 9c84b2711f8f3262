"""Records that share what is equal in them: a study keeps all of them in memory for as long as it runs.

Most of a record is names, which every line of a ledger brings anew, and with one replicate its metrics stand there
twice. Nobody changes a record, so that what is equal may be the same object.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

from neglora.record import Record

#: Texts longer than this differ from record to record, and are too few to matter.
LONG = 64
#: Objects of fewer entries are not worth a comparison.
LARGE = 5


def compact(record: Record) -> Record:
    """An equal record that takes about half of the memory."""
    known: dict[str, Any] = {}
    return Record(**{one.name: _shared(getattr(record, one.name), known) for one in fields(record)})


def _shared(value: Any, known: dict[str, Any]) -> Any:
    """A value of JSON whose names are the program's, and whose objects are those among `known` that are equal."""
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= LONG else value
    if isinstance(value, list):
        return [_shared(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    made = {sys.intern(name): _shared(item, known) for name, item in value.items()}
    return known.setdefault(repr(made), made) if len(made) >= LARGE else made
