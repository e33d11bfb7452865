"""Counts of the phantom's genes: negative binomial, driven by the patients' programmes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pathduet.phantom.random_numbers import generator

if TYPE_CHECKING:
    import pandas as pd

#: Sub-programmes: (subspace, correlation with the subspace's programme, share of the subspace's genes it drives).
Subprogrammes = Mapping[str, tuple[str, float, float]]

#: Sub-programmes of the built-in phantom, whose subspaces are the shipped ones.
SUBPROGRAMMES: Subprogrammes = {
    "proliferation": ("tumor", 0.90, 0.16),
    "mesenchymal": ("tumor", 0.70, 0.12),
    "progenitor": ("tumor", -0.60, 0.12),
    "infiltrate": ("tme", 0.90, 0.16),
    "hypoxia_angiogenesis": ("tme", 0.75, 0.12),
    "stroma": ("tme", 0.60, 0.10),
}

#: Genes with a fixed sub-programme and loading: known markers, if the gene lists contain them.
ANCHORS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("MKI67", "TOP2A", "CCNB1", "CDK1", "AURKB", "BIRC5", "UBE2C"), ("proliferation", 0.75)),
    "PTTG1": ("proliferation", 0.95),
    **dict.fromkeys(("CHI3L1", "CD44", "VIM", "ANXA2", "LGALS3"), ("mesenchymal", 0.7)),
    **dict.fromkeys(("OLIG1", "DLL3", "ASCL1", "SOX4", "DCX"), ("progenitor", 0.7)),
    "IFNGR2": ("infiltrate", 0.95),
    **dict.fromkeys(("CD14", "CD86", "CSF1R", "TYROBP", "HLA-DRA"), ("infiltrate", 0.75)),
    **dict.fromkeys(("VEGFA", "ADM", "FLT1", "KDR", "ANGPT2"), ("hypoxia_angiogenesis", 0.75)),
    **dict.fromkeys(("COL1A1", "COL3A1", "DCN", "LUM", "FN1"), ("stroma", 0.7)),
}

#: SD of the deviation of a patient's sequenced specimen from the patient's programmes.
SPECIMEN_SD = 0.30


@dataclass(frozen=True)
class Genes:
    """The truth about every gene.

    Attributes
    ----------
    symbols : list of str
        All genes, sorted.
    subspace : (G,) object
        A subspace, ``shared`` (in several lists) or ``background``.
    programme : (G,) object
        Sub-programme that drives the gene, empty for noise.
    loading : (G,) float64
        Change of the log mean count per SD of the sub-programme; 0 for noise.
    base : (G,) float64
        Log mean count at a library of size 1.
    direction : (G,) int
        Sign of the gene's correlation with its subspace's programme; 0 for noise.
    dispersion : (G,) float64
        Dispersion of the negative binomial: variance = mean + dispersion * mean^2.
    """

    symbols: list[str]
    subspace: np.ndarray
    programme: np.ndarray
    loading: np.ndarray
    base: np.ndarray
    direction: np.ndarray
    dispersion: np.ndarray

    def table(self) -> pd.DataFrame:
        """Return the truth about the genes, one row per gene."""
        import pandas as pd

        return pd.DataFrame(
            {
                "gene_symbol": self.symbols,
                "subspace": self.subspace,
                "sub_programme": self.programme,
                "loading": self.loading,
                "direction": self.direction,
                "base_log_mean": self.base,
                "dispersion": self.dispersion,
            }
        )


def draw_genes(
    lists: Mapping[str, Iterable[str]],
    subprogrammes: Subprogrammes = SUBPROGRAMMES,
    anchors: Mapping[str, tuple[str, float]] = ANCHORS,
    *,
    seed: int,
) -> Genes:
    """Draw the sub-programme of each gene; all cohorts of a phantom share the result.

    Parameters
    ----------
    lists : mapping of str to iterable of str
        The subspaces' gene lists.
    subprogrammes : mapping
        As :data:`SUBPROGRAMMES`.
    anchors : mapping
        As :data:`ANCHORS`.
    seed : int
        The cohort's seed.
    """
    rng = generator(seed, "genes")
    members = {name: set(genes) for name, genes in lists.items()}
    symbols = sorted(set(background_symbols()).union(*members.values()))
    holders = [[name for name, genes in members.items() if gene in genes] for gene in symbols]
    subspace = np.array(
        ["shared" if len(names) > 1 else names[0] if names else "background" for names in holders],
        dtype=object,
    )
    n = len(symbols)
    programme, loading = np.full(n, "", dtype=object), np.zeros(n)
    where = {g: i for i, g in enumerate(symbols)}
    for gene, (name, value) in anchors.items():
        # A marker is used only if its subspace's list contains it.
        if gene in where and subspace[where[gene]] in (subprogrammes[name][0], "shared"):
            programme[where[gene]], loading[where[gene]] = name, value
    for space in members:
        spare = rng.permutation(np.flatnonzero((subspace == space) & (programme == "")))
        total = int((subspace == space).sum())
        for name, (of, _, share) in subprogrammes.items():
            if of != space:
                continue
            chosen, spare = np.split(spare, [round(share * total)])
            programme[chosen] = name
            sign = np.where(rng.random(len(chosen)) < 0.8, 1.0, -1.0)
            loading[chosen] = sign * rng.uniform(0.25, 0.80, len(chosen))
    base = rng.normal(np.log(180.0), 1.3, n)
    base[[where[g] for g in anchors if g in where]] += 0.7
    direction = np.sign([loading[i] * (subprogrammes[p][1] if p else 0.0) for i, p in enumerate(programme)])
    return Genes(
        symbols, subspace, programme, loading, base, direction.astype(int), rng.uniform(0.05, 0.30, n)
    )


def draw_activities(
    patients: pd.DataFrame, subprogrammes: Subprogrammes = SUBPROGRAMMES, *, seed: int
) -> pd.DataFrame:
    """Draw each patient's sub-programmes as shown by the sequenced specimen.

    Parameters
    ----------
    patients : pandas.DataFrame
        With `z_<subspace>` of each subspace, as from :func:`pathduet.phantom.latents.simulate_patients`.
    subprogrammes : mapping
        As :data:`SUBPROGRAMMES`.
    seed : int
        The cohort's seed.

    Returns
    -------
    pandas.DataFrame
        Index as `patients`, one column per sub-programme, each of about unit variance.
    """
    import pandas as pd

    cohort = str(patients["cohort"].iloc[0])
    rng = generator(seed, "activities", cohort)
    n = len(patients)
    specimen = {
        space: (patients[f"z_{space}"].to_numpy() + SPECIMEN_SD * rng.standard_normal(n))
        / np.hypot(1.0, SPECIMEN_SD)
        for space in dict.fromkeys(space for space, _, _ in subprogrammes.values())
    }
    return pd.DataFrame(
        {
            name: weight * specimen[space] + np.sqrt(1.0 - weight**2) * rng.standard_normal(n)
            for name, (space, weight, _) in subprogrammes.items()
        },
        index=patients.index,
    )


def draw_counts(
    genes: Genes, activities: pd.DataFrame, cohort: str, *, seed: int, batch_sd: float = 0.0
) -> pd.DataFrame:
    """Draw the counts of one cohort.

    Parameters
    ----------
    genes : Genes
        Loadings, base levels and dispersions.
    activities : pandas.DataFrame
        Sub-programmes of the patients (rows).
    cohort : str
        Name of the cohort; identifies its random numbers.
    seed : int
        The cohort's seed.
    batch_sd : float
        SD of a shift of each gene's log mean, the same for all patients of this cohort.

    Returns
    -------
    pandas.DataFrame
        Genes in rows (`gene_symbol`), patients in columns, int64 counts.
    """
    import pandas as pd

    rng = generator(seed, "counts", cohort)
    n_genes, n = len(genes.symbols), len(activities)
    log_mean = np.repeat(genes.base[:, None], n, axis=1)
    log_mean += batch_sd * rng.standard_normal((n_genes, 1))
    for name in activities:
        rows = genes.programme == name
        log_mean[rows] += genes.loading[rows, None] * activities[name].to_numpy()[None, :]
    log_mean += 0.25 * rng.standard_normal((n_genes, n)) + 0.30 * rng.standard_normal((1, n))
    shape = 1.0 / genes.dispersion[:, None]
    counts = rng.poisson(rng.gamma(shape, np.exp(log_mean) / shape))
    return pd.DataFrame(counts, index=pd.Index(genes.symbols, name="gene_symbol"), columns=activities.index)


def background_symbols() -> list[str]:
    """Return housekeeping symbols (ribosome, mitochondrion, spliceosome, proteasome ...), which have no signal."""
    families = {
        "RPL": [*range(3, 16), *range(17, 20), *range(21, 25), *range(26, 33), 34, 35, 36, 37, 38],
        "RPS": [2, 3, *range(5, 22), *range(23, 27), 28, 29],
        "MRPL": [*range(1, 5), *range(9, 25), 27, 28, 30, *range(32, 56), 57],
        "NDUFA": range(1, 13),
        "NDUFB": range(1, 12),
        "NDUFS": range(1, 9),
        "NDUFAF": range(1, 9),
        "MRPS": [2, *range(5, 8), 9, 10, 11, 12, 14, 15, 16, 17, *range(21, 29), 30, 31, 33, 34, 35],
        "VPS": [8, 11, 16, 18, 25, 28, 29, 35, 36, 39, 41, 45, 50, 51, 52, 53, 54, 72],
        "TMED": [1, 2, 3, 4, 5, 7, 8, 9, 10],
        "SF3B": range(1, 7),
        "CNOT": [1, 2, 3, 4, 6, 7, 8, 9, 10, 11],
        "EXOSC": range(1, 11),
        "MED": [4, *range(6, 32)],
        "POLR2": "ABCDEFGHIJKL",
        "EIF3": "ABCDEFGHIJKLM",
        "SNRP": ["A", "A1", "B", "B2", "C", "D1", "D2", "D3", "E", "F", "G"],
        "COPS": [2, 3, 4, 5, 6, 8],
        "DDX": [1, 5, 6, 10, 17, 18, 21, 23, 24, 27, 41, 42, 46, 47, 49, 50, 51, 52, 54, 55, 56],
    }
    singles = (
        "ACTB GAPDH TBP HPRT1 PGK1 PPIA GUSB TFRC YWHAZ SDHA UBC HMBS ALAS1 IPO8 PUM1 PUM2 RPLP0 RPLP1 RPLP2 "
        "EEF1A1 EEF2 EMC7 CHMP2A C1orf43 SNRNP200 REEP5 VCP RAB7A GPI LDHA LDHB TPI1 ENO1 ALDOA PGAM1 COX4I1 "
        "COX5A COX5B COX6C COX7C UQCRB UQCRH UQCRQ ATP5F1A ATP5F1B ATP5MC1 ATP6V0C CYC1 SDHB SDHC MDH1 MDH2"
    )
    built = [f"{stem}{member}" for stem, members in families.items() for member in members]
    return sorted({*built, *singles.split()})
