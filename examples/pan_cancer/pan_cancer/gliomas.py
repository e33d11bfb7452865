"""Sheets of public gliomas: TCGA GBM-LGG as PORPOISE published it, and two array cohorts that nothing is trained on.

The TCGA table holds z-scores of 1,544 genes, survival in months, age and sex; molecular facts and grade come from a published
label table. Ducray and Joo are glioblastomas measured on arrays: their log2 intensities share no unit with TCGA's z-scores, so each
gene is standardised over the cohort's own samples. A month is 30.4375 days.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pan_cancer.cohorts import write_expression
from pathduet.cohort.published_splits import import_splits
from pathduet.cohort.tasks import DAYS_IN
from pathduet.core.errors import InputError
from pathduet.core.files import write_text, write_tsv

if TYPE_CHECKING:
    import pandas as pd

TCGA, ARRAYS = "tcga_gbmlgg", ("Ducray", "Joo")


def data_file(data: Path, name: str) -> Path:
    """Return the path of a table below the data folder; InputError if it is not there."""
    path = data / name
    if not path.is_file():
        raise InputError.of(
            str(path), "no such file", "set PATHDUET_TEST_DATA to the folder of public tables"
        )
    return path


def tcga(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return TCGA GBM-LGG: patients, and expression (genes, patients) as published."""
    import pandas as pd

    found = pd.read_csv(
        data_file(data, "tables_tcga/porpoise_tcga_gbmlgg_all_clean.csv.zip"), low_memory=False
    )
    found = found.drop_duplicates("case_id").set_index("case_id").sort_index().rename_axis("patient_id")
    facts = pd.read_excel(data_file(data, "tables_tcga/deepmo_merge_who.xlsx"), sheet_name=0)
    facts = facts.drop_duplicates("Patient ID").set_index("Patient ID").reindex(found.index)
    patients = pd.DataFrame(
        {
            "cohort": TCGA,
            "idh": facts["IDH status"],
            "codel_1p19q": facts["1p/19q codeletion"],
            "cdkn2a": facts["CDKN2A"].astype("Int64"),
            "grade": facts["2016-Grade"],
            "age_years": found["age"],
            "sex": found["is_female"].map({1.0: "female", 0.0: "male"}),
            "survival_days": (found["survival_months"] * DAYS_IN["months"]).round(2),
            # "censorship" is 1 for the censored
            "event": 1 - found["censorship"].astype(int),
        }
    )
    values = found[[column for column in found if column.endswith("_rnaseq")]].T
    values.index = values.index.str.removesuffix("_rnaseq")
    return patients, values


def arrays(data: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return an array cohort: one primary tumour a patient, the first listed, with known survival."""
    import pandas as pd

    found = pd.read_csv(data_file(data, f"expr_external/{name}_pheno.tsv"), sep="\t").set_index("Sample")
    if name == "Joo":
        found = found[found["Recurrence"] == "Primary"].drop_duplicates("Patient_ID")
    found = found[found["survival"].notna() & found["status"].notna() & (found["survival"] > 0)]
    values = pd.read_csv(data_file(data, f"expr_external/{name}_expr.tsv.gz"), sep="\t").set_index("Sample")
    found = found[found.index.isin(values.index)]
    ids = pd.Index([f"{name.lower()}-{sample}" for sample in found.index], name="patient_id")
    patients = pd.DataFrame(
        {
            "cohort": name.lower(),
            "grade": "G4",
            "age_years": found["Age"].to_numpy(dtype=float),
            "sex": found["Gender"].str.lower().to_numpy() if "Gender" in found else None,
            "survival_days": (found["survival"].astype(float) * DAYS_IN["months"]).round(2).to_numpy(),
            "event": found["status"].astype(int).to_numpy(),
        },
        index=ids,
    )
    values = values.loc[found.index].set_axis(ids)
    sd = values.std(axis=0, ddof=0)
    # R turned the hyphens of symbols into dots; the table's reader turns them back
    return patients, ((values - values.mean(axis=0)) / sd.where(sd > 0)).dropna(axis=1).T


def write_gliomas(data: Path, folder: Path) -> None:
    """Write patients.tsv, an expression table a cohort, folds.tsv and config.yaml into a folder."""
    import pandas as pd
    import yaml

    cohorts = {TCGA: tcga(data), **{name.lower(): arrays(data, name) for name in ARRAYS}}
    patients = pd.concat([patients for patients, _ in cohorts.values()])
    write_tsv(folder / "patients.tsv", patients.reset_index())
    for name, (_, values) in cohorts.items():
        write_expression(folder / f"expression_{name}.tsv.gz", values)
    write_tsv(folder / "folds.tsv", import_splits(data / "tables_tcga" / "porpoise_5fold"))
    tables = [{"cohort": name, "path": f"expression_{name}.tsv.gz", "unit": "zscore"} for name in cohorts]
    config = {
        "preset": "glioma",
        "sheets": {"patients": "patients.tsv"},
        "cohorts": {"internal": [TCGA], "external": [name.lower() for name in ARRAYS]},
        "expression": {"tables": tables},
        "split": {"folds": 5, "file": "folds.tsv"},
        # all external patients have the same grade
        "tasks": {"grading": {"external": False}},
        "report": {"title": "TCGA-GBM and TCGA-LGG"},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
