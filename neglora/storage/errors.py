"""What can go wrong with a storage."""

from __future__ import annotations


class StorageError(RuntimeError):
    """Storage that cannot be opened, read or written; the message says where, why, and what to do."""


class Transient(OSError):
    """What may pass by itself: a line that broke, a store that is busy. `ObjectStorage` tries again.

    Args:
        text: for people.
        answered: whether the store itself said so, rather than nobody.
    """

    def __init__(self, text: str, *, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered
