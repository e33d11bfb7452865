"""The end of every import: patients.tsv, slides.tsv, an expression table with its sample sheet, and the report.

Several cohorts share one folder: a cohort's rows in patients.tsv and slides.tsv are replaced, those of others kept.
``cohorts.yaml`` names everything for ``--configfile``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path, write_text, write_tsv
from pathduet.importers.clinical_values import VALUES, Patients, ReadPatients
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True)
class CohortExpression:
    """A cohort's expression on its way into the sheets.

    Attributes
    ----------
    table : DataFrame
        First column(s) name the gene as ``expression.table_files.GENE_COLUMNS`` says, one column a sample.
    unit : str
    samples : DataFrame
        sample_id, patient_id, slide_id.
    """

    table: pd.DataFrame
    unit: str
    samples: pd.DataFrame


def safe_id(text: str) -> str | None:
    """Return an id that can name files, or None if nothing sensible can be made of `text`."""
    identifier = re.sub(r"[^A-Za-z0-9._-]+", "-", text.strip()).strip("-.")
    return identifier if _ID.fullmatch(identifier) and ".." not in identifier else None


def check_survival(
    patients: Patients, report: ImportReport, where: Mapping[str, str] | None = None, *, drop: bool = False
) -> None:
    """Look at survival patient by patient: days above 0 with a known vital status, or the reason why not.

    Parameters
    ----------
    patients : dict
        Changed in place.
    where : mapping, optional
        File and row of each patient.
    drop : bool
        Refuse the whole patient (a cohort that is only about survival), not just these two values.
    """
    if not drop and not any({"survival_days", "event"} & set(known) for known in patients.values()):
        report.choose("no column of survival_days or event")
        return
    for patient in sorted(patients):
        known = patients[patient]
        days, event = known.get("survival_days"), known.get("event")
        reason = ""
        if days is None or event is None:
            missing = [name for name, value in (("survival_days", days), ("event", event)) if value is None]
            reason = f"{' and '.join(missing)} missing"
        elif days <= 0:
            reason = "survival is not above 0 days"
        if not reason:
            continue
        found = f"survival_days {'' if days is None else f'{days:g}'}, event {'' if event is None else f'{event:g}'}"
        report.drop("patient" if drop else "value", patient if drop else f"{patient}.survival",
                    (where or {}).get(patient, ""), reason, found)  # fmt: skip
        if drop:
            del patients[patient]
        else:
            known.pop("survival_days", None)
            known.pop("event", None)


def drop_without_material(
    patients: Patients,
    slides: Sequence[Mapping[str, Any]],
    expression: CohortExpression | None,
    report: ImportReport,
    where: str,
) -> None:
    """Leave out, in place, the patients who have neither a slide nor expression."""
    material = {slide["patient_id"] for slide in slides}
    if expression is not None:
        material |= set(expression.samples["patient_id"])
    for patient in sorted(set(patients) - material):
        report.drop("patient", patient, where, "neither slide nor expression")
        del patients[patient]


def write_cohort(
    out: Path,
    report: ImportReport,
    patients: ReadPatients,
    slides: Sequence[Mapping[str, Any]] = (),
    expression: CohortExpression | None = None,
) -> None:
    """Write a cohort's sheets into a folder and check them by reading them as a run would.

    Parameters
    ----------
    out : Path
        Folder; made if it is not there.
    report : ImportReport
        Its cohort names the rows; written, too.
    patients : mapping
        Patient id -> columns of patients.tsv.
    slides : sequence of mapping
        Columns of slides.tsv but the cohort; paths absolute.
    expression : CohortExpression, optional
        Written as ``expression_{cohort}.parquet`` and ``samples_{cohort}.tsv``.

    Raises
    ------
    InputError
        If there is no patient, or the sheets would be refused by a run.
    """
    from pathduet.cohort.sheets import read_patients, read_sheets

    cohort = report.cohort
    if not _ID.fullmatch(cohort):
        raise InputError.of("--cohort", repr(cohort), "use letters, digits, dot, underscore, hyphen")
    if not patients:
        reasons = "; ".join(f"{n} {kind}s: {reason}" for kind, reason, n in report.reasons()[:5])
        raise InputError.of(f"import of {cohort}", "no patient is left", reasons or "look at the inputs")
    out.mkdir(parents=True, exist_ok=True)
    _write_patients(out / "patients.tsv", cohort, patients)
    kept = _write_slides(out / "slides.tsv", slides, patients, report)
    report.counts |= {"patients": len(patients), "slides": kept}
    entry = write_expression(out, cohort, expression) if expression is not None else None
    _write_config(out, cohort, entry)
    report.write(out)
    # the same checks as a run's, so that an import never hands on what will be refused later
    if (out / "slides.tsv").is_file():
        read_sheets(out / "slides.tsv", out / "patients.tsv")
    else:
        read_patients(out / "patients.tsv")


def _write_patients(path: Path, cohort: str, patients: ReadPatients) -> None:
    import pandas as pd

    further = dict.fromkeys(name for known in patients.values() for name in known if name not in VALUES)
    names = [*VALUES[1:], *further]
    rows = [
        {"patient_id": p, "cohort": cohort, **{k: patients[p].get(k) for k in names}}
        for p in sorted(patients)
    ]
    table = pd.DataFrame(rows, dtype=object)
    for column in ("event", "cdkn2a"):
        table[column] = [int(v) if isinstance(v, float) else v for v in table[column]]
    _replace_rows(path, cohort, table, ("patient_id", "cohort", *VALUES[1:]))


def _write_slides(
    path: Path, slides: Sequence[Mapping[str, Any]], patients: ReadPatients, report: ImportReport
) -> int:
    """Write the slides of the patients that were taken over; return how many these are."""
    import pandas as pd

    from pathduet.core.config import schema

    kept = []
    for slide in slides:
        if slide["patient_id"] in patients:
            kept.append({**slide, "cohort": report.cohort})
        else:
            name = Path(slide["path"]).name
            report.drop("slide", slide["slide_id"], name, "its patient was not taken over")
    _replace_rows(path, report.cohort, pd.DataFrame(kept, dtype=object), schema("slides")["properties"])
    return len(kept)


def write_expression(out: Path, cohort: str, expression: CohortExpression) -> dict[str, Any]:
    """Write a cohort's table and its samples into a folder; return the configuration's entry for them."""
    table, samples = out / f"expression_{cohort}.parquet", out / f"samples_{cohort}.tsv"
    with atomic_path(table) as temporary:
        expression.table.to_parquet(temporary, index=False)
    ordered = expression.samples[["sample_id", "patient_id", "slide_id"]].sort_values("sample_id")
    write_tsv(samples, ordered)
    return {"cohort": cohort, "path": str(table), "unit": expression.unit, "samples": str(samples)}


def _replace_rows(path: Path, cohort: str, rows: pd.DataFrame, first: Iterable[str]) -> None:
    """Put a cohort's rows in place of those that a sheet had; columns `first`, then the others as they came."""
    import pandas as pd

    parts = []
    if path.is_file():
        before = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        parts.append(before[before["cohort"] != cohort])
    if len(rows):
        parts.append(rows)
    parts = [part for part in parts if len(part)]
    if not parts:
        path.unlink(missing_ok=True)
        return
    table = pd.concat(parts, ignore_index=True)
    table = table.where(table.notna() & (table.astype(str) != ""), None)
    columns = dict.fromkeys([*(c for c in first if c in table), *table.columns])
    kept = [c for c in columns if c in ("patient_id", "cohort") or table[c].notna().any()]
    write_tsv(path, table[kept])


def _write_config(out: Path, cohort: str, entry: Mapping[str, Any] | None) -> None:
    """Keep cohorts.yaml: the sheets, every cohort as internal (move external ones yourself), the tables."""
    import yaml

    path = out / "cohorts.yaml"
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    tables = [t for t in value.get("expression", {}).get("tables", []) if t["cohort"] != cohort]
    listed = value.get("cohorts", {"internal": [], "external": []})
    if cohort not in listed["internal"] + listed["external"]:
        listed["internal"].append(cohort)
    value = {
        "sheets": {
            name: str(out / f"{name}.tsv") if (out / f"{name}.tsv").is_file() else None
            for name in ("slides", "patients")
        },
        "cohorts": listed,
        "expression": {
            "tables": sorted([*tables, *([dict(entry)] if entry else [])], key=lambda t: t["cohort"])
        },
    }
    head = (
        "# Written by `pathduet import`; move external cohorts to `external`. What to predict goes into a file beside it\n"
        "# (`preset: glioma`, or tasks of your own): snakemake --configfile this.yaml mine.yaml\n"
    )
    write_text(path, head + yaml.safe_dump(value, sort_keys=False))
