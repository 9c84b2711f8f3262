"""What the page does, as one text: the scripts of this folder, one after the other."""

from __future__ import annotations

from importlib import resources

#: Each may use those before it, through the one name `page`.
SCRIPTS = ("theme", "copying", "trials", "linking", "panel", "legend", "drawing", "dial")


def page_script() -> str:
    """The scripts in their order."""
    folder = resources.files("study.plots")
    return "\n".join(folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
