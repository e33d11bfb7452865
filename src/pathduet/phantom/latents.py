"""Patients of the phantom: two latent programmes, and the diagnosis, grade and survival that follow from them.

This module has no pixels and no genes: the same patients can get slides, counts or plain feature vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pathduet.phantom.random_numbers import generator

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Effects:
    """The strength of the programmes' effects (per SD), and the noise that hides them.

    Attributes
    ----------
    tumor, tme : float
        Log hazard per SD of the tumour and the microenvironment programme.
    age : float
        Log hazard per ten years.
    shape : float
        Weibull shape of the time to death (1 = exponential).
    median_days : float
        Median survival of a patient at the mean of everything.
    class_noise : float
        SD of the noise added to each programme before the diagnosis is derived.
    grade_noise : float
        SD of the noise added to the programmes' sum before grades 2 and 3 are separated.
    censored : float
        Share of follow-up that ends without a death.
    correlation : float
        Correlation of the programmes over patients.
    interaction : float
        Log hazard per product of both programmes.
    """

    tumor: float = 1.1
    tme: float = 1.1
    age: float = 0.15
    shape: float = 1.4
    median_days: float = 1000.0
    class_noise: float = 0.45
    grade_noise: float = 0.60
    censored: float = 0.40
    correlation: float = 0.0
    interaction: float = 0.0


def simulate_patients(
    n: int, cohort: str, *, seed: int = 1, prefix: str = "PH", effects: Effects | None = None
) -> pd.DataFrame:
    """Draw `n` patients of one cohort.

    The tumour programme and the microenvironment (TME) programme are independent and standard normal
    (stratified: one draw per quantile bin, so that a small cohort covers the range). Both plus noise are cut
    by rank into four cells, one per diagnosis: glioblastoma (high, high), astrocytoma grade 4 (high
    tumour, low TME), oligodendroglioma (low, high), low-grade astrocytoma (low, low). Counts of
    classes and grades are therefore fixed by `n` alone. Survival is Weibull with proportional hazards on
    both programmes and, weakly, on age; follow-up is exponential and scaled so that 40 % are censored.

    Parameters
    ----------
    n : int
        Number of patients, >= 4; from 12 on, every diagnosis and grade has at least three.
    cohort : str
        Value of the `cohort` column; also identifies its random numbers.
    seed : int
        Cohorts with the same name, seed and size are equal.
    prefix : str
        Start of the patient ids (``PH001``).
    effects : Effects, optional
        Strengths and noise; the defaults are those of the phantom cohort.

    Returns
    -------
    pandas.DataFrame
        Indexed by `patient_id`: the columns of patients.tsv (`cohort`, `idh`, `codel_1p19q`, `cdkn2a`,
        `grade`, `histology`, `age_years`, `sex`, `survival_days`, `event`), then the truth: `diagnosis`,
        `z_tumor`, `z_tme` (higher = more malignant) and `log_hazard` (higher = earlier death).
    """
    import pandas as pd

    if n < 4:
        raise ValueError(f"a cohort needs at least 4 patients, one per diagnosis; got {n}")
    effects = effects or Effects()
    rng = generator(seed, "patients", cohort)
    z_tumor, z_tme = stratified_normal(n, rng), stratified_normal(n, rng)
    if effects.correlation:
        z_tme = effects.correlation * z_tumor + (1 - effects.correlation**2) ** 0.5 * z_tme
    diagnosis = _diagnoses(z_tumor, z_tme, effects, rng)
    grade, cdkn2a = _grades(diagnosis, z_tumor, z_tme, effects, rng)
    age = np.clip(rng.normal(52.0, 13.0, n), 19.0, 86.0).round(1)
    log_hazard = effects.tumor * z_tumor + effects.tme * z_tme + effects.age * (age - 52.0) / 10.0
    log_hazard += effects.interaction * z_tumor * z_tme
    days, event = draw_survival(log_hazard, effects, rng)
    histology = pd.Series(diagnosis).map(
        {
            "glioblastoma": "glioblastoma",
            "oligodendroglioma": "oligodendroglioma",
            "astrocytoma_grade4": "astrocytoma",
            "astrocytoma_low_grade": "astrocytoma",
        }
    )
    width = max(3, len(str(n)))
    return pd.DataFrame(
        {
            "cohort": cohort,
            "idh": np.where(diagnosis == "glioblastoma", "WT", "Mutant"),
            "codel_1p19q": np.where(diagnosis == "oligodendroglioma", "codel", "non-codel"),
            "cdkn2a": cdkn2a,
            "grade": grade,
            "histology": histology.to_numpy(),
            "age_years": age,
            "sex": np.where(rng.random(n) < 0.57, "male", "female"),
            "survival_days": days,
            "event": event,
            "diagnosis": diagnosis,
            "z_tumor": z_tumor,
            "z_tme": z_tme,
            "log_hazard": log_hazard,
        },
        index=pd.Index([f"{prefix}{i:0{width}d}" for i in range(1, n + 1)], name="patient_id"),
    )


def stratified_normal(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n standard normal numbers, one from each of n equally likely intervals, shuffled."""
    from scipy.special import ndtri

    return ndtri((rng.permutation(n) + rng.uniform(0.02, 0.98, n)) / n)


def _upper_half(score: np.ndarray) -> np.ndarray:
    """Mark the higher half (rounded up) of the scores."""
    high = np.zeros(len(score), dtype=bool)
    high[np.argsort(-score, kind="stable")[: (len(score) + 1) // 2]] = True
    return high


def _diagnoses(
    z_tumor: np.ndarray, z_tme: np.ndarray, effects: Effects, rng: np.random.Generator
) -> np.ndarray:
    n = len(z_tumor)
    tumor = z_tumor + effects.class_noise * rng.standard_normal(n)
    tme = z_tme + effects.class_noise * rng.standard_normal(n)
    high_tumor = _upper_half(tumor)
    high_tme = np.zeros(n, dtype=bool)
    for half in (high_tumor, ~high_tumor):
        high_tme[half] = _upper_half(tme[half])
    names = np.array(
        [["astrocytoma_low_grade", "oligodendroglioma"], ["astrocytoma_grade4", "glioblastoma"]], dtype=object
    )
    return names[high_tumor.astype(int), high_tme.astype(int)]


def _grades(
    diagnosis: np.ndarray,
    z_tumor: np.ndarray,
    z_tme: np.ndarray,
    effects: Effects,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return recorded grades and CDKN2A calls that lead to the diagnoses by the WHO-2021 rules.

    One astrocytoma grade 4 in four was graded G3 under the microscope and is grade 4 only by its
    homozygous CDKN2A/B deletion.
    """
    n = len(diagnosis)
    grade, cdkn2a = np.full(n, "G4", dtype=object), np.zeros(n, dtype=int)
    score = z_tumor + z_tme + effects.grade_noise * rng.standard_normal(n)
    low = np.isin(diagnosis, ["oligodendroglioma", "astrocytoma_low_grade"])
    grade[low] = np.where(_upper_half(score[low]), "G3", "G2")
    cdkn2a[low] = rng.choice([-1, 0, 1], size=int(low.sum()), p=[0.12, 0.80, 0.08])

    wild = np.flatnonzero(diagnosis == "glioblastoma")
    cdkn2a[wild] = rng.choice([-2, -1, 0], size=len(wild), p=[0.55, 0.20, 0.25])
    fourth = np.flatnonzero(diagnosis == "astrocytoma_grade4")
    fourth = fourth[np.argsort(score[fourth], kind="stable")]
    cdkn2a[fourth] = rng.choice([-2, -1, 0], size=len(fourth), p=[0.5, 0.2, 0.3])
    molecular_only = fourth[: len(fourth) // 4]
    grade[molecular_only], cdkn2a[molecular_only] = "G3", -2
    return grade, cdkn2a


def draw_survival(
    log_hazard: np.ndarray, effects: Effects, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return observed days (whole, >= 5) and events (1 = died) under exponential follow-up."""
    n = len(log_hazard)
    scale = effects.median_days / np.log(2.0) ** (1.0 / effects.shape)
    death = scale * (rng.standard_exponential(n) * np.exp(-log_hazard)) ** (1.0 / effects.shape)
    follow_up = 0.2 + rng.standard_exponential(n)
    # The scale at which exactly that share of follow-ups end before the death: censoring is uninformative
    # given the scale, and a small cohort cannot end up with hardly any events.
    ratio = np.sort(death / follow_up)
    k = max(n - round(effects.censored * n), 1)
    low, high = ratio[k - 1], ratio[min(k, n - 1)]
    unit = float(np.sqrt(low * high))
    event = (death <= unit * follow_up).astype(int)
    observed = np.where(event == 1, death, unit * follow_up)
    return np.maximum(5, np.round(observed)).astype(int), event
