"""Checks whether a table's numbers fit its unit: by their distribution in each sample, not by single values."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal, get_args

import numpy as np

from pathduet.core.errors import Problem, Problems
from pathduet.expression.table_files import SHOWN, RawTable, more_cells

Unit = Literal["counts", "tpm", "fpkm", "log2_tpm", "zscore"]
UNITS: tuple[str, ...] = get_args(Unit)
#: Units in which several rows of a gene are summed; in others they are averaged.
ADDITIVE = frozenset({"counts", "tpm", "fpkm"})
#: Fewer genes than this do not show the distribution of a sample.
_ENOUGH_GENES = 500
#: Rows of a whole transcriptome, whose TPM add up to nearly a million.
_TRANSCRIPTOME = 15000
#: Bounds of the sum of TPM over such a table; without mitochondrial or ribosomal genes the sum is lower.
_LEAST_SUM, _MILLION = 4e5, 1.02e6
#: The largest value over the 90 % quantile of those above 0: at most 3.4 for logarithms of real samples (and of 500 of their
#: genes), at least 5.9 for counts, TPM and FPKM.
_TAIL = 4.5
#: No logarithm of an expression value is larger.
_LARGEST_LOG = 40.0
#: Share of the variance of all values that lies between genes: below 0.11 for real z-scores, above 0.9 for logarithms.
_BETWEEN_GENES = 0.5
_BASES = {"log2": 2.0, "ln": math.e, "log10": 10.0}
_NEGATIVES = 0.05
#: Offending rows of each sample: (sample's position, rows' positions).
_Hits = list[tuple[int, np.ndarray]]


def check_samples(samples: list[str], name: str) -> list[Problem]:
    """Return the problems of a table's sample ids: missing and duplicate ids."""
    problems = [
        Problem(f"{name} header, column {position + 1}", "no sample id", "name the sample")
        for position, sample in enumerate(samples)
        if not sample
    ]
    problems += [
        Problem(f"{name} header, sample {sample}", "more than one column", "keep one column per sample")
        for sample, n in sorted(Counter(samples).items())
        if sample and n > 1
    ]
    return problems


def check_values(raw: RawTable, unit: str, name: str) -> list[Problem]:
    """Return the problems of the numbers: a table of another unit as a whole, else single impossible values.

    Works sample by sample to avoid full-size temporaries of a whole transcriptome.
    """
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
    if looks := _looks_like(raw, unit):
        return [*problems, Problem(f"{name}, unit {unit}", *looks)]
    problems += _cells(raw, infinite, name, "needs a finite number or an empty cell")
    advice = "log2(TPM + 1) is never negative" if unit == "log2_tpm" else f"{unit} are never negative"
    advice += "; declare the right unit or correct the value (set negative values of a batch correction to 0)"
    problems += _cells(raw, negative, name, advice)
    advice = "counts are whole: round expected counts (RSEM, Salmon), or declare the right unit"
    return problems + _cells(raw, fraction, name, advice)


def _looks_like(raw: RawTable, unit: str) -> tuple[str, str] | None:
    """Return what numbers look like if not the declared unit, and what to do; None if they fit it."""
    values = raw.values
    if not np.isfinite(values).any():
        return None
    if (found := _floor(values)) is not None:
        undo = "undo the logarithm, set negative values to 0, and declare the original unit (TPM: tpm)"
        return f"the lowest value, {found[0]:g}, is in {found[1]:.0%} of the cells: {found[2]}", undo
    finite = np.isfinite(values)
    below = float((finite & (values < 0)).sum() / max(finite.sum(), 1))
    if unit == "zscore":
        return _no_z_scores(values, below)
    if below > _NEGATIVES and len(values) >= _ENOUGH_GENES:
        what = "log2(TPM + 1) is" if unit == "log2_tpm" else f"{unit} are"
        advice = "declare zscore; or undo the centring and the logarithm, and declare the original unit"
        return f"{what} never negative, {below:.0%} of these are: z-scores, or centred logarithms", advice
    logs = {
        sample: is_log
        for sample in range(values.shape[1])
        if (is_log := _logarithms(values[:, sample])) is not None
    }
    wrong = [raw.samples[sample] for sample, is_log in logs.items() if is_log != (unit == "log2_tpm")]
    if wrong:
        some = (
            f" in {len(wrong)} of {len(raw.samples)} samples ({', '.join(wrong[:3])})"
            if len(wrong) < len(logs)
            else ""
        )
        if unit == "log2_tpm":
            return (
                f"the largest values are far above the others{some}: not logarithms",
                "declare counts, tpm or fpkm",
            )
        advice = "declare log2_tpm if they are log2(TPM + 1); else undo the logarithm and declare the original unit"
        return f"no value is far above the others{some}: these look like logarithms", advice
    if unit == "log2_tpm":
        return _no_log2_tpm(values)
    return _no_linear(values, unit)


def _floor(values: np.ndarray) -> tuple[float, float, str] | None:
    """Return the value of zeros after log(x + 0.001), the share of cells that hold it, and the formula."""
    known = values[np.isfinite(values)]
    lowest, share = float(known.min()), float((known == known.min()).mean())
    clipped = float((known == known.max()).mean()) > 0.001
    if lowest > -1 or share < 0.01 or values.size < 1000 or clipped:
        return None
    for name, base in _BASES.items():
        power = math.log10(base) * lowest
        if abs(power - round(power)) < 0.005:
            return lowest, share, f"zeros of {name}(x + {10.0 ** round(power):g})"
    return None


def _no_z_scores(values: np.ndarray, below: float) -> tuple[str, str] | None:
    advice = "declare one of counts, tpm, fpkm, log2_tpm, or score each gene over the samples"
    known = values[np.isfinite(values).all(axis=1)]
    if not below:
        return "no value below 0: not z-scores", advice
    # single z-scores against a reference group reach 100 and more; typical ones do not
    if (typical := float(np.nanmedian(np.abs(values)))) > 5:
        return f"half of the values are beyond {typical:g} in size: not z-scores", advice
    if known.shape[1] < 3 or len(known) < 50:
        return None
    known = np.clip(known, -20, 20)
    share = float(known.mean(axis=1).var() / known.var())
    if share > _BETWEEN_GENES:
        return (
            f"{share:.0%} of the variance lies between genes, whose z-scores would all be about 0: not z-scores",
            advice,
        )
    return None


def _logarithms(sample: np.ndarray) -> bool | None:
    """Whether one sample's values are logarithms, by how far the largest is above the others; None with too few genes."""
    positive = sample[np.isfinite(sample) & (sample > 0)]
    if np.isfinite(sample).sum() < _ENOUGH_GENES or len(positive) < _ENOUGH_GENES / 5:
        return None
    return bool(positive.max() < min(_LARGEST_LOG, _TAIL * np.quantile(positive, 0.9)))


def _no_log2_tpm(values: np.ndarray) -> tuple[str, str] | None:
    advice = "undo the logarithm and declare the original unit: counts, tpm or fpkm"
    if counted := next((name for name, base in _BASES.items() if _of_counts(values, base)), ""):
        return (
            f"{counted}(x + 1) of whole numbers: logarithms of counts",
            "undo the logarithm and declare counts",
        )
    sums = {name: np.array([_sum(column, base) for column in values.T]) for name, base in _BASES.items()}
    if (most := float(sums["log2"].max())) > _MILLION:
        found = f"2^x - 1 adds up to {most:.3g} in a sample, where TPM make a million: not log2(TPM + 1)"
        return (
            f"{found}, but logarithms of counts, normalised counts, FPKM-UQ or of an array's signals",
            advice,
        )
    if len(values) < _ENOUGH_GENES:
        return None
    exact = [name for name, found in sums.items() if np.allclose(found, 1e6, rtol=0.01)]
    usual = [name for name, found in sums.items() if _LEAST_SUM < np.median(found) < _MILLION]
    others = exact or (usual if len(values) >= _TRANSCRIPTOME else [])
    if others and "log2" not in others:
        return f"they add up to a million TPM as {others[0]}(TPM + 1), not as log2", advice
    if np.allclose(sums["ln"], 1e4, rtol=0.01):
        return "they add up to ten thousand as ln(x + 1): scanpy's normalize_total and log1p", advice
    if len(values) >= _TRANSCRIPTOME and not usual:
        found = f"2^x - 1 adds up to {np.median(sums['log2']):.3g} in a sample, where TPM make a million"
        return f"{found}: log2(FPKM + 1)?", advice
    if len(values) >= 2 * _ENOUGH_GENES and np.nanmax(values) < math.log10(1e6):
        return f"no value above {np.nanmax(values):g} in {len(values)} genes: log10?", advice
    return None


def _of_counts(logarithms: np.ndarray, base: float) -> bool:
    """Whether the small values were whole numbers before the logarithm (four decimals are enough to tell)."""
    small = logarithms[(logarithms > 0.5) & (logarithms < math.log(20, base))]
    numbers = np.expm1(small * math.log(base))
    return len(small) > 100 and float((np.abs(numbers - np.round(numbers)) < 0.02).mean()) > 0.9


def _sum(logarithms: np.ndarray, base: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.nansum(np.expm1(logarithms[~np.isinf(logarithms)] * math.log(base))))


def _no_linear(values: np.ndarray, unit: str) -> tuple[str, str] | None:
    sums = np.array([np.nansum(column[~np.isinf(column)]) for column in values.T])
    if unit in ("tpm", "fpkm") and np.nanmax(values) > 1 and all(_whole(column) for column in values.T):
        return "only whole numbers: these look like counts", "declare counts, or give the unrounded values"
    if unit == "tpm" and sums.max() > _MILLION:
        found = f"a sample adds up to {sums.max():.3g}, where TPM make a million"
        return (
            f"{found}: normalised counts or FPKM-UQ?",
            "declare fpkm, which scales each sample to a million",
        )
    if unit == "tpm" and len(values) >= _TRANSCRIPTOME and np.median(sums) < _LEAST_SUM:
        found = f"samples add up to {np.median(sums):.3g}, where TPM make a million"
        return f"{found}: FPKM?", "declare fpkm, which scales each sample to a million"
    million = len(values) >= _ENOUGH_GENES and len(sums) > 2 and np.allclose(sums, 1e6, rtol=0.02)
    if unit == "counts" and million and len(set(sums)) > 1:  # not downsampled to a million reads
        return (
            "every sample adds up to about a million: these look like TPM",
            "declare tpm",
        )
    return None


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
