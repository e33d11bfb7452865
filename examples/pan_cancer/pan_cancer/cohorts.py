"""Public tables of TCGA cohorts as sheets: patients, expression, folds, and the configuration of a run.

PORPOISE's tables (one row a slide) hold z-scores of some 1,500 genes, overall survival in months, age and sex; SurvPath's hold
three endpoints in months, stage, grade, and for some cohorts log2(TPM + 0.001) and folds; MMP's of TCGA-KIRC endpoints in days,
stage and grade. All of them say ``censorship`` = 1 for the censored.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path, write_text, write_tsv

if TYPE_CHECKING:
    import pandas as pd

ENDPOINTS = {"os": "Overall survival", "dss": "Disease-specific survival", "pfi": "Progression-free interval"}
STAGES = ["I", "II", "III", "IV"]
GRADES = ["G1", "G2", "G3", "G4"]


@dataclass(frozen=True)
class Cohort:
    """Which tables a cohort has.

    Attributes
    ----------
    name : str
        In files, e.g. ``brca``.
    endpoints : str
        Whose clinical table: ``porpoise`` (overall survival alone), ``survpath`` or ``mmp``.
    expression : str
        ``porpoise`` (z-scores), ``xena`` (TPM), or empty.
    folds : bool
        Whether there are published ones.
    classes : tuple of str
        Classifications beside the endpoints.
    """

    name: str
    endpoints: str = "porpoise"
    expression: str = "porpoise"
    folds: bool = False
    classes: tuple[str, ...] = ()


COHORTS = {
    cohort.name: cohort
    for cohort in (
        Cohort("blca", "survpath", "xena", folds=True),
        Cohort("brca", "survpath", folds=True, classes=("subtype",)),
        Cohort("coadread", "survpath", "xena"),
        Cohort("hnsc", "survpath"),
        Cohort("kirc", "mmp", classes=("grade", "stage")),
        Cohort("kirp"),
        Cohort("lihc"),
        Cohort("luad"),
        Cohort("lusc"),
        Cohort("paad"),
        Cohort("skcm"),
        Cohort("stad", "survpath", "xena"),
        Cohort("ucec", expression=""),
    )
}
CLASSES: dict[str, dict[str, Any]] = {
    "subtype": {"kind": "classification", "title": "Subtype (IDC or ILC)", "column": "subtype", "classes": ["IDC", "ILC"]},
    "grade": {"kind": "classification", "column": "grade", "classes": GRADES, "ordered": True},
    "stage": {"kind": "classification", "column": "stage", "classes": STAGES, "ordered": True},
}  # fmt: skip


def table(data: Path, name: str) -> pd.DataFrame:
    """Return one of the tables, cells as text, None where empty, one row a patient.

    Raises
    ------
    InputError
        If it is not there.
    """
    import pandas as pd

    path = data / "tables_pancancer" / name
    if not path.is_file():
        raise InputError.of(
            str(path), "no such file", "set PATHDUET_TEST_DATA to the folder of public tables"
        )
    found = pd.read_csv(path, dtype=str, keep_default_na=False, low_memory=False)
    return found.drop_duplicates("case_id").set_index("case_id").sort_index().rename_axis("patient_id")


def patients_of(data: Path, cohort: Cohort) -> pd.DataFrame:
    """Return a cohort's sheet of patients, by patient_id; a time of 0 and a stage or grade that is none are cleared."""
    import pandas as pd

    if cohort.endpoints == "mmp":
        found = table(data, "mmp_tcga_kirc_clinical.csv")
        sheet = pd.DataFrame({"age": found["age_at_initial_pathologic_diagnosis"]})
        sheet["sex"] = found["sex"].map({"M": "male", "F": "female"})
        sheet["stage"] = found["ajcc_pathologic_tumor_stage"].str.removeprefix("Stage ")
        sheet["grade"] = found["histological_grade"]
        times = {name: (f"{name}_survival_days", f"{name}_censorship") for name in ENDPOINTS}
    else:
        name = f"tcga_{cohort.name}"
        found = table(
            data,
            f"survpath_{name}_endpoints.csv"
            if cohort.endpoints == "survpath"
            else f"porpoise_{name}_all_clean.csv.zip",
        )
        sheet = pd.DataFrame({"age": found["age"]})
        sheet["sex"] = pd.to_numeric(found["is_female"]).map({1.0: "female", 0.0: "male"})
        sheet["subtype"] = found["oncotree_code"]
        times = {"os": ("survival_months", "censorship")}
        if cohort.endpoints == "survpath":
            times |= {name: (f"survival_months_{name}", f"censorship_{name}") for name in ("dss", "pfi")}
            more = table(data, f"survpath_{name}_clinical.csv").reindex(sheet.index)
            sheet["stage"], sheet["grade"] = more["stage"], more["grade"]
    for column, known in (("stage", STAGES), ("grade", GRADES)):
        if column in sheet:
            sheet[column] = sheet[column].where(sheet[column].isin(known))
    for name, (time, censored) in times.items():
        above_0 = pd.to_numeric(found[time]) > 0
        sheet[f"{name}_time"] = found[time].where(above_0)
        sheet[f"{name}_censored"] = pd.to_numeric(found[censored]).astype("Int64").where(above_0)
    sheet.insert(0, "cohort", f"tcga_{cohort.name}")
    return sheet


def expression_of(data: Path, cohort: Cohort) -> tuple[pd.DataFrame, str]:
    """Return expression (genes, patients) as log2(TPM + 1) or z-scores, and its unit."""
    import numpy as np
    import pandas as pd

    if cohort.expression == "xena":
        path = data / "tables_pancancer" / f"survpath_tcga_{cohort.name}_rna_xena.csv.gz"
        values = pd.read_csv(path, index_col=0).T
        # stored as log2(TPM + 0.001), four decimals; some patients have several samples, which nothing tells apart
        log2 = np.log2(np.clip(2**values - 0.001, 0, None) + 1)
        return log2.T.groupby(level=0).mean().T, "log2_tpm"
    values = table(data, f"porpoise_tcga_{cohort.name}_all_clean.csv.zip")
    values = values[[column for column in values if column.endswith("_rnaseq")]].astype(float).T
    values.index = values.index.str.removesuffix("_rnaseq")
    return values, "zscore"


def configuration(cohort: Cohort, patients: pd.DataFrame, unit: str) -> dict[str, Any]:
    """Return what a cohort's configuration says beyond examples/pan_cancer/config.yaml; paths are beside it."""
    time_unit = "days" if cohort.endpoints == "mmp" else "months"
    tasks: dict[str, Any] = {
        name: {"kind": "survival", "title": title, "time": f"{name}_time", "unit": time_unit,
               "event": {"column": f"{name}_censored", "observed": 0, "censored": 1}}
        for name, title in ENDPOINTS.items() if f"{name}_time" in patients
    }  # fmt: skip
    covariates = {"age": "numeric", "sex": "categorical"}
    sets = {"age_sex": ["age", "sex"]}
    for column, levels in (("grade", GRADES), ("stage", STAGES)):
        if column in patients and patients[column].notna().any():
            covariates[column] = {"kind": "ordered", "levels": list(levels)}
            sets[f"age_sex_{column}"] = ["age", "sex", column]
    config: dict[str, Any] = {
        "sheets": {"patients": "patients.tsv"},
        "tasks": tasks | {name: CLASSES[name] for name in cohort.classes},
        "covariates": covariates,
        "evaluation": {"clinical_baselines": sets},
        "report": {"title": f"TCGA-{cohort.name.upper()}"},
    }
    if cohort.expression:
        config["expression"] = {
            "tables": [{"cohort": f"tcga_{cohort.name}", "path": "expression.tsv.gz", "unit": unit}]
        }
    if cohort.folds:
        config["split"] = {"folds": 5, "file": "folds.tsv"}
    return config


def write_expression(path: Path, values: pd.DataFrame) -> None:
    """Write a table of genes in rows; the same values give the same bytes."""
    text = (
        values.rename_axis("gene_symbol")
        .sort_index()
        .to_csv(sep="\t", float_format="%.6g", lineterminator="\n")
    )
    with atomic_path(path) as temporary:
        # neither a time nor the temporary file's name in the header
        temporary.write_bytes(gzip.compress(text.encode(), compresslevel=4, mtime=0))


def write_cohort(data: Path, cohort: Cohort, folder: Path) -> None:
    """Write a cohort's patients.tsv, expression.tsv.gz, folds.tsv and config.yaml into a folder."""
    import yaml

    from pathduet.cohort.published_splits import import_splits

    patients = patients_of(data, cohort)
    write_tsv(folder / "patients.tsv", patients.reset_index())
    unit = ""
    if cohort.expression:
        values, unit = expression_of(data, cohort)
        write_expression(folder / "expression.tsv.gz", values.loc[:, values.columns.isin(patients.index)])
    if cohort.folds:
        folds = import_splits(data / "tables_pancancer" / f"survpath_5fold_{cohort.name}")
        write_tsv(folder / "folds.tsv", folds)
    write_text(folder / "config.yaml", yaml.safe_dump(configuration(cohort, patients, unit), sort_keys=False))
