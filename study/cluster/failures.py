"""How a study can fail as a whole. Apart from the modules that raise them, since those import Ray."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """The cluster cannot be reached, or cannot ever give what a study asks for."""


class PreparationError(RuntimeError):
    """A prerequisite could not be made."""


class WorkersLost(RuntimeError):
    """A group of workers that train together lost one of them, and has to begin again."""
