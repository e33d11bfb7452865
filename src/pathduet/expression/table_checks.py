"""Whether a table's numbers can be what its unit says."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pathduet.core.errors import Problem, Problems
from pathduet.expression.table_files import SHOWN, RawTable, more_cells

Unit = Literal["counts", "tpm", "fpkm", "log2_tpm", "zscore"]
UNITS: tuple[str, ...] = get_args(Unit)
#: Units whose rows add up when a gene has several; the others are averaged.
ADDITIVE = frozenset({"counts", "tpm", "fpkm"})
#: log2(1e6 + 1): no log2(TPM + 1) can be larger.
_LOG2_LARGEST = 19.95
#: Fewer genes than this say nothing about the unit of linear values that happen to be small.
_ENOUGH_GENES = 500
#: Offending rows of each sample: (sample's position, rows' positions).
_Hits = list[tuple[int, np.ndarray]]


def check_samples(samples: list[str], name: str) -> list[Problem]:
    """Return what is wrong with a table's sample ids: missing ones, and those that occur twice."""
    problems = [
        Problem(f"{name} header, column {position + 1}", "no sample id", "name the sample")
        for position, sample in enumerate(samples)
        if not sample
    ]
    seen: set[str] = set()
    twice = {s for s in samples if s and (s in seen or seen.add(s))}  # type: ignore[func-returns-value]
    problems += [
        Problem(f"{name} header, sample {sample}", "more than one column", "keep one column a sample")
        for sample in sorted(twice)
    ]
    return problems


def check_values(raw: RawTable, unit: str, name: str) -> list[Problem]:
    """List impossible values, sample by sample (a whole transcriptome is large: no full-size temporaries)."""
    problems = Problems()
    infinite: _Hits = []
    negative: _Hits = []
    fraction: _Hits = []
    for sample, values in enumerate(raw.values.T):
        where = f"{name}, sample {raw.samples[sample]}"
        finite = np.isfinite(values)
        if not finite.any():
            problems.add(where, "no value at all", "remove the column")
            continue
        if unit in ADDITIVE and not values[finite].any():
            problems.add(where, "all values are 0", "remove the column")
        infinite.append((sample, np.flatnonzero(np.isinf(values))))
        if unit != "zscore":
            negative.append((sample, np.flatnonzero(finite & (values < 0))))
        if unit == "counts":
            whole = np.floor(values, where=finite, out=np.zeros_like(values))
            fraction.append((sample, np.flatnonzero(finite & (values != whole))))
    problems += _cells(raw, infinite, name, "needs a finite number or an empty cell")
    advice = "log2(TPM + 1) is never negative" if unit == "log2_tpm" else f"{unit} are never negative"
    problems += _cells(raw, negative, name, f"{advice}; declare the right unit or correct the value")
    advice = "counts are whole: round expected counts (RSEM, Salmon), or declare the right unit"
    problems += _cells(raw, fraction, name, advice)
    return problems or _check_unit(raw.values, unit, name)


def _check_unit(values: np.ndarray, unit: str, name: str) -> list[Problem]:
    """Refuse numbers that cannot be, or hardly are, what they are said to be."""
    smallest, largest, n_genes = float(np.nanmin(values)), float(np.nanmax(values)), len(values)
    looks = ""
    if unit == "log2_tpm" and largest > _LOG2_LARGEST:
        looks = f"{largest:g} is more than log2(1e6 + 1): not logarithms"
    elif unit == "zscore" and smallest >= 0:
        looks = "no value below 0: not z-scores"
    elif unit == "zscore" and (typical := float(np.nanmedian(np.abs(values)))) > 5:
        # Single z-scores against a reference group reach 100 and more; typical ones do not.
        looks = f"half of the values are beyond {typical:g} in size: not z-scores"
    elif unit in ("tpm", "fpkm") and largest > 1 and all(_whole(column) for column in values.T):
        looks = "only whole numbers: these look like counts"
    elif unit in ("tpm", "fpkm") and largest < _LOG2_LARGEST and n_genes >= _ENOUGH_GENES:
        looks = f"no value above {largest:g} in {n_genes} genes: these look like logarithms"
    elif unit == "counts" and largest < _LOG2_LARGEST and n_genes >= _ENOUGH_GENES:
        looks = f"no value above {largest:g} in {n_genes} genes: these look like rounded logarithms"
    return [Problem(f"{name}, unit {unit}", looks, f"declare one of {', '.join(UNITS)}")] if looks else []


def _whole(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool((known == np.floor(known)).all())


def _cells(raw: RawTable, hits: _Hits, name: str, advice: str) -> list[Problem]:
    problems = Problems()
    for column, rows in hits:
        for row in rows[: SHOWN - len(problems)]:
            place = f"row {row + raw.first_row}" if raw.first_row else "gene"
            where = f"{name} {place} ({raw.genes[row] or 'no gene'}), column {raw.samples[column]}"
            problems.add(where, f"{raw.values[row, column]:g}", advice)
    return problems + more_cells(sum(len(rows) for _, rows in hits), name, advice)
