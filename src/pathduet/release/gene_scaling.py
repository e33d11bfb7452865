"""A new sample's expression as a fold's teacher takes it: the training part's genes, means and SDs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.core.errors import InputError, Problem
from pathduet.expression.batch_correction import standardise
from pathduet.expression.fold_matrix import SUBSPACES, FoldExpression
from pathduet.expression.tables import ExpressionTable
from pathduet.expression.units import to_log2

#: Of each subspace's genes, the share that a table may lack; those genes stand at the training mean.
MOST_MISSING = 0.1
TRANSFORMATION = (
    "counts: log2(1e6 counts / sum + 1), the sum over all genes of the sample; tpm: log2(tpm + 1); fpkm: "
    "log2(1e6 fpkm / sum + 1); log2_tpm and zscore: unchanged. Then (value - mean) / sd, as float32; a gene whose sd "
    "is 0 is only centred."
)


@dataclass(frozen=True)
class GeneScaling:
    """The genes of one fold and how they are scaled.

    Attributes
    ----------
    fold : int
    genes : dict of str to tuple of str
        Genes of ``tumor`` and ``tme`` in token order.
    mean, sd : dict of str to (G,) float64 array
        Of the training part, log2 scale, by subspace.
    units : dict of str to str
        Unit of each cohort's table in training.
    batch_correction, external_scaling : str
        As configured; new samples are treated as an external cohort under ``training``.
    """

    fold: int
    genes: dict[str, tuple[str, ...]]
    mean: dict[str, np.ndarray]
    sd: dict[str, np.ndarray]
    units: dict[str, str]
    batch_correction: str
    external_scaling: str

    @classmethod
    def from_matrix(cls, path: Path) -> GeneScaling:
        """Take them from a fold's matrix (``genes/fold-K.h5ad``)."""
        import json

        import anndata

        adata = anndata.read_h5ad(path, backed="r")
        settings = json.loads(str(adata.uns["pathduet"]))
        genes: dict[str, tuple[str, ...]] = {}
        mean: dict[str, np.ndarray] = {}
        sd: dict[str, np.ndarray] = {}
        for name in SUBSPACES:
            place = adata.var[f"token_order_{name}"].to_numpy()
            columns = np.flatnonzero(place >= 0)
            columns = columns[np.argsort(place[columns], kind="stable")]
            genes[name] = tuple(str(gene) for gene in adata.var_names[columns])
            mean[name] = adata.var["mean"].to_numpy(dtype=np.float64)[columns]
            sd[name] = adata.var["sd"].to_numpy(dtype=np.float64)[columns]
        adata.file.close()
        return cls(
            int(settings["fold"]), genes, mean, sd, dict(settings["units"]),
            settings["batch_correction"], settings["external_scaling"],
        )  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """Return JSON-ready values; floats keep every digit."""
        return {
            "fold": self.fold,
            "units": self.units,
            "transformation": TRANSFORMATION,
            "batch_correction": self.batch_correction,
            "external_scaling": self.external_scaling,
            "subspaces": {
                name: {
                    "genes": list(self.genes[name]),
                    "mean": self.mean[name].tolist(),
                    "sd": self.sd[name].tolist(),
                }
                for name in SUBSPACES
            },
        }

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> GeneScaling:
        """Undo :meth:`to_plain`."""
        parts = value["subspaces"]
        return cls(
            int(value["fold"]),
            {name: tuple(map(str, parts[name]["genes"])) for name in SUBSPACES},
            {name: np.array(parts[name]["mean"], dtype=np.float64) for name in SUBSPACES},
            {name: np.array(parts[name]["sd"], dtype=np.float64) for name in SUBSPACES},
            dict(value["units"]), value["batch_correction"], value["external_scaling"],
        )  # fmt: skip

    def apply(self, table: ExpressionTable) -> FoldExpression:
        """Scale a new table's samples by this fold's numbers.

        Raises
        ------
        InputError
            If the table is z-scored and the training tables were not (or the other way round), or lacks more than a
            tenth of a subspace's genes.
        """
        problems = []
        scored = {unit == "zscore" for unit in self.units.values()}
        if scored != {table.unit == "zscore"}:
            found = f"{table.unit}; the model was trained on {', '.join(sorted(set(self.units.values())))}"
            problems.append(Problem("expression", found, "hand in the unit it was trained on"))
        for name in SUBSPACES:
            lacking = [gene for gene in self.genes[name] if gene not in table.values.index]
            if len(lacking) > MOST_MISSING * len(self.genes[name]):
                shown = ", ".join(lacking[:5])
                problems.append(
                    Problem(
                        f"expression, {name} genes of fold {self.fold}",
                        f"{len(lacking)} of {len(self.genes[name])} are not in the table ({shown} ...)",
                        "hand in a whole transcriptome with gene symbols or Ensembl ids",
                    )
                )
        if problems:
            raise InputError(problems)
        log2, _ = to_log2(table)
        scaled = {}
        for name in SUBSPACES:
            values = log2.reindex(list(self.genes[name])).T.to_numpy(dtype=np.float64)
            scaled[name] = standardise(values, self.mean[name], self.sd[name])
            scaled[name] = np.where(np.isnan(scaled[name]), 0.0, scaled[name]).astype(np.float32)
        samples = table.samples
        return FoldExpression(
            samples=[str(s) for s in samples.index],
            patients=[str(p) for p in samples["patient_id"]],
            slides=[str(s) for s in samples["slide_id"]],
            cohorts=["new"] * len(samples),
            parts=["external"] * len(samples),
            tumor=scaled["tumor"],
            tme=scaled["tme"],
            tumor_genes=list(self.genes["tumor"]),
            tme_genes=list(self.genes["tme"]),
            settings={},
        )

    def notes(self, table: ExpressionTable) -> list[str]:
        """Return what the reader of a prediction should know about its expression."""
        notes = []
        trained = set(self.units.values())
        if table.unit not in trained and table.unit != "zscore":
            notes.append(
                f"the table's unit is {table.unit}, the model was trained on {', '.join(sorted(trained))}: long genes "
                "shift against each other"
            )
        for name in SUBSPACES:
            lacking = [gene for gene in self.genes[name] if gene not in table.values.index]
            if lacking:
                notes.append(
                    f"{len(lacking)} of {len(self.genes[name])} {name} genes are not in the table and stand at the "
                    f"training mean: {', '.join(lacking[:10])}"
                )
        if self.batch_correction != "none":
            notes.append(
                f"the training cohorts were corrected against each other ({self.batch_correction}); a new sample is not"
            )
        if table.unit == "zscore":
            notes.append("z-scores: their scale depends on the samples they were scored over")
        return notes
