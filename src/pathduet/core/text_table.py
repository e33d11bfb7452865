"""Read required and optional columns of a user's or a run's table as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problems
from pathduet.core.sheet_file import read_lines, rows_below

if TYPE_CHECKING:
    import pandas as pd


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), *, label: str = "", advice: str
) -> pd.DataFrame:
    """Read some columns of a table as text; the index is each row's number in the file.

    Parameters
    ----------
    path : Path
        A table for :func:`pathduet.core.sheet_file.read_lines`.
    columns, optional : sequence of str
        Required columns, and columns that are empty if missing; others are dropped.
    label : str
        Name of a missing file in the error; its file name if empty.
    advice : str
        What to do if the file is missing.

    Raises
    ------
    InputError
        If the file or a column is missing, a column appears twice, or a row has more cells than the header.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError.of(label or path.name, "no such file", advice)
    header, *lines = read_lines(path) or [[]]
    require_columns(header, columns, path.name)
    problems = Problems()
    for name in (*columns, *optional):
        if header.count(name) > 1:
            problems.add(f"{path.name} header", f"column {name!r} appears twice", "keep one")
    rows = dict(rows_below(header, lines, path.name, problems))
    problems.check()
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=str)
    table = table.loc[:, ~table.columns.duplicated()]
    return table.reindex(columns=[*columns, *optional], fill_value="")


def require_columns(found: Iterable[str], wanted: Iterable[str], source: str) -> None:
    """Raise InputError unless a table has the columns."""
    header = list(map(str, found))
    absent = [name for name in wanted if name not in header]
    if absent:
        shown = f"columns {', '.join(header[:12]) or 'none'}{' ...' if len(header) > 12 else ''}"
        raise InputError.of(source, shown, f"needs {', '.join(absent)} too")
