"""How sure a measured share is: `neglora.intervals`, under the name that reports use."""

from neglora.intervals import Z_95, wilson

__all__ = ["Z_95", "wilson"]
