"""Tables to cite as files beside the study's other tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neglora.record import Record
from study.aggregate import write_atomically
from study.papertable.decided import cell_rows, decision_rows
from study.papertable.decidedformats import decided_csv, decided_latex, decided_markdown
from study.papertable.formats import as_csv, as_latex, as_markdown
from study.papertable.rows import paper_table

FOLDER = "tables"
#: What the decisions are called, by the name of their files.
CAPTIONS = {"decision": "Recommended beside Retrain and the base", "cells": "Recommended in every cell"}


def write_paper_tables(study_dir: Path, records: Sequence[Record], study: Mapping[str, Any]) -> list[Path]:
    """Write `tables/paper`, `tables/decision` and `tables/cells`, each as .csv, .md and .tex and atomically.

    Returns:
        The nine paths.
    """
    folder = study_dir / FOLDER
    folder.mkdir(exist_ok=True)
    table = paper_table(records, study)
    texts = {"paper.csv": as_csv(table), "paper.md": as_markdown(table), "paper.tex": as_latex(table)}
    for name, rows in (("decision", decision_rows(records, study)), ("cells", cell_rows(records, study))):
        texts |= {
            f"{name}.csv": decided_csv(rows),
            f"{name}.md": decided_markdown(rows, CAPTIONS[name]),
            f"{name}.tex": decided_latex(rows, CAPTIONS[name]),
        }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]
