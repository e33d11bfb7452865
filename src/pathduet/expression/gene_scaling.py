"""Scaling of genes: z-scores by the means and SDs of the training part, for a fold and for new samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathduet.core.errors import Problems
from pathduet.core.plural import plural
from pathduet.expression.fold_matrix import FoldExpression, read_genes, token_columns
from pathduet.expression.tables import ExpressionTable
from pathduet.expression.units import to_log2

if TYPE_CHECKING:
    import pandas as pd

ExternalScaling = Literal["training", "own"]
#: Share of each subspace's genes that a table may lack; they are set to the training mean.
MOST_MISSING = 0.1
TRANSFORMATION = (
    "counts: log2(1e6 counts / sum + 1), the sum over all genes of the sample; tpm: log2(tpm + 1); fpkm: "
    "log2(1e6 fpkm / sum + 1); log2_tpm and zscore: unchanged. Then (value - mean) / sd, as float32; a gene whose sd "
    "is 0 is only centred."
)


def mean_and_sd(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and population SD of each column; the SD of a constant column is exactly 0."""
    mean = values.mean(axis=0)
    constant = values.max(axis=0) == values.min(axis=0)
    return mean, np.where(constant, 0.0, values.std(axis=0))


def z_scores(values: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return (values - mean) / sd; columns whose SD is 0 are only centred."""
    scaled: np.ndarray = (values - mean) / np.where(sd == 0, 1.0, sd)
    return scaled


def scale_fold(
    log2: np.ndarray, obs: pd.DataFrame, mean: np.ndarray, sd: np.ndarray, external_scaling: ExternalScaling
) -> tuple[np.ndarray, list[str]]:
    """Scale a fold's samples by the training part's means and SDs.

    Parameters
    ----------
    log2 : (samples, genes) float64 array
    obs : DataFrame
        `cohort` and `part` of each sample.
    mean, sd : (genes,) arrays
        Of the training part.
    external_scaling : {"training", "own"}
        Whose numbers scale external cohorts; see ``pathduet.expression.batch_correction``.

    Returns
    -------
    tuple of (ndarray, list of str)
        Scaled values, and notes for the user.
    """
    scaled, remarks = z_scores(log2, mean, sd), []
    if (sd == 0).any():
        remarks.append(
            f"set to 0 because constant in the training samples: {plural(int((sd == 0).sum()), 'gene')}"
        )
    if external_scaling == "own":
        for cohort in sorted(set(obs.loc[obs["part"] == "external", "cohort"])):
            own = (obs["cohort"] == cohort).to_numpy()
            scaled[own] = z_scores(log2[own], *mean_and_sd(log2[own]))
            remarks.append(f"{cohort}: scaled by its own samples' means and SDs, not by the training part's")
    return scaled, remarks


@dataclass(frozen=True)
class GeneScaling:
    """The genes of one fold and how they are scaled: turns a new sample's expression into the teacher's input.

    Attributes
    ----------
    fold : int
    subspaces : dict of str to DataFrame
        Per subspace, in order: genes in token order (index), `mean` and `sd` of the training part, log2 scale.
    units : dict of str to str
        Unit of each cohort's table in training.
    batch_correction, external_scaling : str
        As configured; new samples are treated as an external cohort under ``training``.
    """

    fold: int
    subspaces: dict[str, pd.DataFrame]
    units: dict[str, str]
    batch_correction: str
    external_scaling: str

    @property
    def genes(self) -> dict[str, tuple[str, ...]]:
        """Genes of each subspace in token order."""
        return {name: tuple(map(str, part.index)) for name, part in self.subspaces.items()}

    def fits(self, genes: Mapping[str, Sequence[str]]) -> bool:
        """Whether a model's genes by subspace equal these, in the same order."""
        return {name: tuple(listed) for name, listed in genes.items()} == self.genes

    @classmethod
    def from_matrix(cls, path: Path) -> GeneScaling:
        """Read genes and scaling from a fold's matrix (``genes/fold-K.h5ad``)."""
        var, settings = read_genes(path)
        parts: dict[str, pd.DataFrame] = {
            name: var.iloc[token_columns(var, name)] for name in settings["subspaces"]
        }
        kept = ("fold", "units", "batch_correction", "external_scaling")
        return cls(subspaces=parts, **{key: settings[key] for key in kept})

    def to_plain(self) -> dict[str, Any]:
        """Return JSON-ready values; floats keep every digit. Subspaces are a list, so that their order is kept."""
        parts = [
            {
                "name": name,
                "genes": list(part.index),
                "mean": part["mean"].tolist(),
                "sd": part["sd"].tolist(),
            }
            for name, part in self.subspaces.items()
        ]
        return vars(self) | {"transformation": TRANSFORMATION, "subspaces": parts}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> GeneScaling:
        """Undo :meth:`to_plain`."""
        import pandas as pd

        parts = {
            part["name"]: pd.DataFrame(
                {"mean": part["mean"], "sd": part["sd"]}, index=part["genes"], dtype=np.float64
            )
            for part in value["subspaces"]
        }
        return cls(**{key: value[key] for key in cls.__dataclass_fields__} | {"subspaces": parts})

    def apply(self, table: ExpressionTable) -> FoldExpression:
        """Scale a new table's samples by this fold's means and SDs.

        Raises
        ------
        InputError
            If the table is z-scored and the training tables were not (or the other way round), or lacks more than a
            tenth of a subspace's genes.
        """
        problems = Problems()
        scored = {unit == "zscore" for unit in self.units.values()}
        if scored != {table.unit == "zscore"}:
            found = f"{table.unit}; the model was trained on {', '.join(sorted(set(self.units.values())))}"
            problems.add("expression", found, "give the unit it was trained on")
        for name, genes in self.genes.items():
            lacking = self._lacking(name, table)
            if len(lacking) > MOST_MISSING * len(genes):
                where = f"expression, {name} genes of fold {self.fold}"
                found = f"{len(lacking)} of {len(genes)} are not in the table ({', '.join(lacking[:5])} ...)"
                advice = "give a whole transcriptome with gene symbols or Ensembl ids"
                problems.add(where, found, advice)
        problems.check()
        log2, _ = to_log2(table)
        scaled = {}
        for name, part in self.subspaces.items():
            values = log2.reindex(list(part.index)).T.to_numpy(dtype=np.float64)
            values = z_scores(values, part["mean"].to_numpy(), part["sd"].to_numpy())
            scaled[name] = np.where(np.isnan(values), 0.0, values).astype(np.float32)
        samples = table.samples
        return FoldExpression(
            samples=[str(s) for s in samples.index],
            patients=[str(p) for p in samples["patient_id"]],
            slides=[str(s) for s in samples["slide_id"]],
            cohorts=["new"] * len(samples),
            parts=["external"] * len(samples),
            values=scaled,
            genes={name: list(genes) for name, genes in self.genes.items()},
            settings={},
        )

    def _lacking(self, subspace: str, table: ExpressionTable) -> list[str]:
        return [gene for gene in self.genes[subspace] if gene not in table.values.index]

    def notes(self, table: ExpressionTable) -> list[str]:
        """Return notes on the expression for the reader of a prediction."""
        notes = []
        trained = set(self.units.values())
        if table.unit not in trained and table.unit != "zscore":
            notes.append(
                f"the table's unit is {table.unit}, the model was trained on {', '.join(sorted(trained))}: long genes are shifted"
            )
        for name, genes in self.genes.items():
            if lacking := self._lacking(name, table):
                notes.append(
                    f"{len(lacking)} of {len(genes)} {name} genes are not in the table and are set to the training mean: {', '.join(lacking[:10])}"
                )
        if self.batch_correction != "none":
            notes.append(
                f"the training cohorts were corrected against each other ({self.batch_correction}); a new sample is not"
            )
        if table.unit == "zscore":
            notes.append("z-scores: their scale depends on the samples they were scored over")
        return notes
