"""Small tab-separated tables of text: the columns that must be there, cells stripped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), *, label: str = "", advice: str
) -> pd.DataFrame:
    """Read some columns of a TSV as text.

    Parameters
    ----------
    path : Path
    columns, optional : sequence of str
        Those that must be there, and those that are empty if they are not; others are left out.
    label : str
        What to call a missing file; its name if empty.
    advice : str
        What to do if the file is missing.

    Raises
    ------
    InputError
        If the file or a column is missing.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError.of(label or path.name, "no such file", advice)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    require_columns(table.columns, columns, path.name)
    table = table.reindex(columns=[*columns, *optional], fill_value="")
    return table.apply(lambda column: column.str.strip())


def require_columns(found: Iterable[str], wanted: Iterable[str], source: str) -> None:
    """Raise InputError unless a table has the columns."""
    header = list(map(str, found))
    absent = [name for name in wanted if name not in header]
    if absent:
        shown = f"columns {', '.join(header[:12]) or 'none'}{' ...' if len(header) > 12 else ''}"
        raise InputError.of(source, shown, f"needs {', '.join(absent)} too")
