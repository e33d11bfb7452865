"""The slide ledger: exactly one row per slide of the sheet, with a reason if the slide was not used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import checked
from pathduet.core.errors import SLIDE_REASONS, PathDuetError
from pathduet.core.ids import is_id
from pathduet.core.plural import plural

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("ok", "failed", "excluded")
COLUMNS = (
    "slide_id", "patient_id", "cohort", "status", "stage", "reason", "message",
    "mpp", "mpp_source", "n_10x", "n_20x", "notes", "features_sha256",
)  # fmt: skip


class LedgerError(PathDuetError):
    """The counts do not add up: a slide is missing, listed twice or in an unknown state."""


def build_ledger(slides: Sequence[SlideRow], manifests: Iterable[Path]) -> pd.DataFrame:
    """Join the sheet with the last stage's batch manifests and reconcile them.

    Parameters
    ----------
    slides : sequence of SlideRow
        The whole sheet.
    manifests : iterable of Path
        One TSV per batch, one row per slide.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`, in the sheet's order.

    Raises
    ------
    LedgerError
        If a slide of the sheet has no row, several rows or a contradictory row, or if a manifest lists a
        slide that is not in the sheet.
    """
    import pandas as pd

    parts = [pd.read_csv(checked(path), sep="\t", dtype=str, keep_default_na=False) for path in manifests]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["slide_id"])
    known = [slide.slide_id for slide in slides]
    problems = []
    counts = rows["slide_id"].value_counts()
    problems += [f"{i}: no row in any batch" for i in known if i not in counts.index]
    problems += [f"{i}: {plural(counts[i], 'row')}" for i in counts.index if counts[i] > 1]
    problems += [f"{i}: not in the sheet" for i in counts.index if i not in set(known)]
    for row in rows.to_dict("records"):
        status, reason = row.get("status"), row.get("reason", "")
        if status not in STATUSES:
            problems.append(f"{row['slide_id']}: unknown status {status!r}")
        elif (status == "ok") != (reason == ""):
            problems.append(f"{row['slide_id']}: status {status!r} with reason {reason!r}")
        elif reason and reason not in SLIDE_REASONS:
            problems.append(f"{row['slide_id']}: unknown reason {reason!r}")
    if problems:
        raise LedgerError(
            f"the slide ledger does not add up ({plural(len(known), 'slide')} in the sheet):\n  "
            + "\n  ".join(problems)
        )
    sheet = pd.DataFrame(
        [(s.slide_id, s.patient_id, s.cohort) for s in slides], columns=["slide_id", "patient_id", "cohort"]
    )
    ledger = sheet.merge(rows, on="slide_id", how="left", validate="one_to_one")
    ledger = ledger.reindex(columns=list(COLUMNS), fill_value="")
    if sum((ledger["status"] == status).sum() for status in STATUSES) != len(slides):
        raise LedgerError("the ledger's statuses do not sum to the number of slides")
    return ledger


def read_ledger(path: str | Path) -> pd.DataFrame:
    """Read ledger.tsv; text columns as text (empty, not missing), counts as nullable integers.

    Raises
    ------
    LedgerError
        If an id is not valid in a sheet: ids become file names.
    """
    import pandas as pd

    table = pd.read_csv(checked(path), sep="\t", dtype=str, keep_default_na=False)
    if strange := [slide for slide in table["slide_id"] if not is_id(slide)]:
        raise LedgerError(f"{path}: {strange[0]!r} is not a slide_id; name the results folder of a run")
    for column in ("n_10x", "n_20x"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype("Int64")
    return table


def summarise(ledger: pd.DataFrame) -> str:
    """Return one line: how many slides were used, and how many were not, by reason.

    >>> import pandas as pd
    >>> summarise(pd.DataFrame({"status": ["ok", "failed"], "reason": ["", "no_mpp"]}))
    '1 of 2 slides used; not used: 1 no_mpp'
    """
    used = int((ledger["status"] == "ok").sum())
    line = f"{used} of {plural(len(ledger), 'slide')} used"
    lost = ledger.loc[ledger["status"] != "ok", "reason"].value_counts().sort_index()
    if used < len(ledger):
        line += "; not used: " + ", ".join(f"{n} {reason}" for reason, n in lost.items())
    return line


def lines(ledger: pd.DataFrame) -> list[str]:
    """Return the line of :func:`summarise`, then one line per lost slide."""
    lost = lost_slides(ledger).to_dict("records")
    return [summarise(ledger), *(f"  {row['slide_id']}: {row['reason']}: {row['message']}" for row in lost)]


def lost_slides(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of slides that failed (those excluded on purpose are not lost)."""
    return ledger[ledger["status"] == "failed"]
