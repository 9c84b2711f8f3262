"""The paper's table of a study: measured beside published, and as Markdown, LaTeX and CSV."""

from __future__ import annotations

from study.papertable.files import write_paper_tables
from study.papertable.formats import as_csv, as_latex, as_markdown
from study.papertable.rows import (
    EPOCHS,
    METRIC_COLUMNS,
    PaperGroup,
    PaperRow,
    PaperTable,
    Tried,
    paper_group,
    paper_table,
    sparse_rows,
)

__all__ = [
    "EPOCHS",
    "METRIC_COLUMNS",
    "PaperGroup",
    "PaperRow",
    "PaperTable",
    "Tried",
    "as_csv",
    "as_latex",
    "as_markdown",
    "paper_group",
    "paper_table",
    "sparse_rows",
    "write_paper_tables",
]
