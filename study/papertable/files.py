"""The paper's table as files beside the study's other tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neglora.record import Record
from study.aggregate import write_atomically
from study.papertable.formats import as_csv, as_latex, as_markdown
from study.papertable.rows import paper_table

FOLDER = "tables"


def write_paper_tables(study_dir: Path, records: Sequence[Record], study: Mapping[str, Any]) -> list[Path]:
    """Write `tables/paper.csv`, `paper.md` and `paper.tex`, each atomically.

    Returns:
        The three paths.
    """
    folder = study_dir / FOLDER
    folder.mkdir(exist_ok=True)
    table = paper_table(records, study)
    texts = {"paper.csv": as_csv(table), "paper.md": as_markdown(table), "paper.tex": as_latex(table)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]
