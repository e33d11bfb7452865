"""Sheets of public glioma cohorts: TCGA GBM-LGG as PORPOISE published it, and two array cohorts.

The TCGA table (PORPOISE, one row a slide) holds z-scores of 1,544 genes against a reference group, survival in months,
age and sex; molecular facts and grade come from a published label table. Ducray and Joo are glioblastoma cohorts
measured on arrays: their log2 intensities share no unit with TCGA's z-scores, so they are declared z-scored after
standardising each gene over the cohort's own samples. Where a file says months, a month is 30.4375 days.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path, write_tsv

if TYPE_CHECKING:
    import pandas as pd

DAYS_A_MONTH = 30.4375
TCGA, DUCRAY, JOO = "tcga_gbmlgg", "ducray", "joo"
COHORTS = (TCGA, DUCRAY, JOO)
#: Where the files lie below the data folder.
FILES = {
    "porpoise": "tables_tcga/porpoise_tcga_gbmlgg_all_clean.csv.zip",
    "labels": "tables_tcga/deepmo_merge_who.xlsx",
    "ducray_expression": "expr_external/Ducray_expr.tsv.gz",
    "ducray": "expr_external/Ducray_pheno.tsv",
    "joo_expression": "expr_external/Joo_expr.tsv.gz",
    "joo": "expr_external/Joo_pheno.tsv",
}


@dataclass
class Cohort:
    """One cohort as sheets.

    Attributes
    ----------
    patients : DataFrame
        Columns of patients.tsv.
    expression : DataFrame
        gene_symbol, then one column a patient.
    notes : list of str
        What was left out, and why.
    """

    patients: pd.DataFrame
    expression: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def data_file(data: str | PathLike[str], name: str) -> Path:
    """Return the path of one of :data:`FILES`.

    Raises
    ------
    InputError
        If it is not there.
    """
    path = Path(data) / FILES[name]
    if not path.is_file():
        raise InputError(
            [Problem(str(path), "no such file", "set PATHDUET_TEST_DATA to the folder of real data")]
        )
    return path


def tcga(data: str | PathLike[str]) -> Cohort:
    """Return TCGA GBM-LGG: one row a patient, z-scores as published."""
    import pandas as pd

    table = pd.read_csv(data_file(data, "porpoise"), low_memory=False).drop_duplicates("case_id")
    table = table.set_index("case_id").sort_index()
    facts = pd.read_excel(data_file(data, "labels"), sheet_name=0).drop_duplicates("Patient ID")
    facts = facts.set_index("Patient ID").reindex(table.index)
    patients = pd.DataFrame(
        {
            "patient_id": table.index,
            "cohort": TCGA,
            "idh": facts["IDH status"],
            "codel_1p19q": facts["1p/19q codeletion"],
            "cdkn2a": facts["CDKN2A"],
            "grade": facts["2016-Grade"],
            "histology": table["oncotree_code"],
            "age_years": table["age"],
            "sex": table["is_female"].map({1.0: "female", 0.0: "male"}),
            "survival_days": (table["survival_months"] * DAYS_A_MONTH).round(2),
            # "censorship" is 1 for the censored
            "event": 1 - table["censorship"].astype(int),
        }
    ).reset_index(drop=True)
    genes = [column for column in table.columns if column.endswith("_rnaseq")]
    expression = table[genes].T.rename_axis("gene_symbol")
    expression.index = expression.index.str.removesuffix("_rnaseq")
    without = int(facts["IDH status"].isna().sum())
    notes = [f"{without} of {len(table)} patients are not in the label table: survival only"]
    return Cohort(patients, expression.sort_index().reset_index(), notes)


def ducray(data: str | PathLike[str]) -> Cohort:
    """Return the Ducray glioblastomas; sex is not given."""
    import pandas as pd

    clinical = pd.read_csv(data_file(data, "ducray"), sep="\t").set_index("Sample")
    return _array_cohort(clinical, data_file(data, "ducray_expression"), DUCRAY, [])


def joo(data: str | PathLike[str]) -> Cohort:
    """Return the Joo glioblastomas: one primary tumour a patient, the first listed."""
    import pandas as pd

    clinical = pd.read_csv(data_file(data, "joo"), sep="\t").set_index("Sample")
    primary = clinical[clinical["Recurrence"] == "Primary"]
    notes = [
        f"{len(clinical) - len(primary)} of {len(clinical)} samples are not of a primary tumour: left out"
    ]
    first = primary.drop_duplicates("Patient_ID")
    if len(first) < len(primary):
        notes.append(f"{len(primary) - len(first)} further samples of a patient: left out, the first is kept")
    return _array_cohort(first, data_file(data, "joo_expression"), JOO, notes)


def _array_cohort(clinical: pd.DataFrame, expression: Path, cohort: str, notes: list[str]) -> Cohort:
    import pandas as pd

    known = clinical[clinical["survival"].notna() & clinical["status"].notna() & (clinical["survival"] > 0)]
    if len(known) < len(clinical):
        notes.append(f"{len(clinical) - len(known)} patients without survival: left out")
    values = pd.read_csv(expression, sep="\t").set_index("Sample")
    measured = known[known.index.isin(values.index)]
    if len(measured) < len(known):
        notes.append(f"{len(known) - len(measured)} patients without expression: left out")
    known = measured
    names = [f"{cohort}-{sample}" for sample in known.index]
    sex = (
        known["Gender"].str.lower() if "Gender" in known else pd.Series(None, index=known.index, dtype=object)
    )
    patients = pd.DataFrame(
        {
            "patient_id": names,
            "cohort": cohort,
            "grade": "G4",
            "histology": known["Histology"].to_numpy(),
            "age_years": known["Age"].to_numpy(dtype=float),
            "sex": sex.to_numpy(),
            "survival_days": (known["survival"].astype(float) * DAYS_A_MONTH).round(2).to_numpy(),
            "event": known["status"].astype(int).to_numpy(),
        }
    )
    values = values.loc[known.index]
    sd = values.std(axis=0, ddof=0)
    scored = ((values - values.mean(axis=0)) / sd.where(sd > 0)).dropna(axis=1)
    scored.index = pd.Index(names)
    # R turned the hyphens of symbols into dots; the table's reader turns them back
    table = scored.T.rename_axis("gene_symbol").sort_index().reset_index()
    notes.append(
        f"log2 intensities of {len(names)} samples were standardised gene by gene over these samples themselves"
    )
    return Cohort(patients, table, notes)


def write_sheets(data: str | PathLike[str], folder: str | PathLike[str]) -> list[str]:
    """Write patients.tsv and one expression table a cohort; return what was left out and why.

    Files: ``patients.tsv``, ``expression_{cohort}.tsv.gz``.
    """
    import pandas as pd

    cohorts = {TCGA: tcga(data), DUCRAY: ducray(data), JOO: joo(data)}
    write_tsv(
        Path(folder) / "patients.tsv", pd.concat([c.patients for c in cohorts.values()], ignore_index=True)
    )
    for name, cohort in cohorts.items():
        with atomic_path(Path(folder) / f"expression_{name}.tsv.gz") as temporary:
            # no time in the gzip header: same data, same bytes
            cohort.expression.to_csv(
                temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n",
                compression={"method": "gzip", "mtime": 0, "compresslevel": 4},
            )  # fmt: skip
    return [f"{name}: {note}" for name, cohort in cohorts.items() for note in cohort.notes]


def folds_of_split(
    patients: pd.DataFrame, split: str, *, folds: int, published: str | PathLike[str]
) -> pd.DataFrame:
    """Return the folds of the TCGA patients: ``seed-N``, stratified by diagnosis, or the published ones."""
    from pathduet.cohort.labels import task_labels
    from pathduet.cohort.make_folds import make_folds
    from pathduet.cohort.published_splits import import_splits
    from pathduet.cohort.site_folds import UNLABELLED

    own = patients[patients["cohort"] == TCGA]
    labels = task_labels(own, "diagnosis")["label"]
    if split != "published":
        return make_folds(own, labels, folds=folds, seed=int(split.removeprefix("seed-")))
    table = import_splits(published)
    unknown = sorted(set(table["patient_id"]) ^ set(own.index))
    if unknown:
        shown = ", ".join(unknown[:5])
        raise InputError(
            [Problem("published folds", f"{len(unknown)} patients differ: {shown}", "use their table")]
        )
    table["cohort"] = TCGA
    table["stratum"] = [f"{label or UNLABELLED}|{TCGA}" for label in labels.loc[table["patient_id"]]]
    return table
