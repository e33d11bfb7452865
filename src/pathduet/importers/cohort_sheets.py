"""The end of every import: patients.tsv, slides.tsv, an expression table with its sample sheet, and the report.

Several cohorts share one folder: a cohort's rows in patients.tsv and slides.tsv are replaced, those of others kept.
``cohorts.yaml`` names everything for ``--configfile``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pathduet.core.config import schema
from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path, write_text, write_tsv
from pathduet.importers.facts import FACTS
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
Facts = Mapping[str, Mapping[str, Any]]


def safe_id(text: str) -> str | None:
    """Return an id that can name files, or None if nothing sensible can be made of `text`."""
    identifier = re.sub(r"[^A-Za-z0-9._-]+", "-", text.strip()).strip("-.")
    return identifier if _ID.fullmatch(identifier) and ".." not in identifier else None


def check_survival(
    facts: dict[str, dict[str, Any]], report: ImportReport, where: Mapping[str, str], *, drop: bool
) -> None:
    """Look at survival patient by patient: days above 0 with a known vital status, or the reason why not.

    Parameters
    ----------
    facts : dict
        Changed in place.
    where : mapping
        File and row of each patient.
    drop : bool
        Refuse the whole patient (a cohort that is only about survival), not just these two facts.
    """
    for patient in sorted(facts):
        known = facts[patient]
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
        report.drop("patient" if drop else "fact", patient if drop else f"{patient}.survival",
                    where.get(patient, ""), reason, found)  # fmt: skip
        if drop:
            del facts[patient]
        else:
            known.pop("survival_days", None)
            known.pop("event", None)


def write_cohort(
    out: Path,
    report: ImportReport,
    facts: Facts,
    *,
    slides: Sequence[Mapping[str, Any]] = (),
    expression: pd.DataFrame | None = None,
    unit: str = "",
    samples: pd.DataFrame | None = None,
) -> None:
    """Write a cohort's sheets into a folder and check them by reading them as a run would.

    Parameters
    ----------
    out : Path
        Folder; made if it is not there.
    report : ImportReport
        Its cohort names the rows; written, too.
    facts : mapping
        Patient id -> columns of patients.tsv.
    slides : sequence of mapping
        Columns of slides.tsv but the cohort; paths absolute.
    expression : DataFrame, optional
        First column(s) name the gene as ``expression.table_files.GENE_COLUMNS`` says, one column a sample. Written as
        ``expression_{cohort}.parquet``.
    unit : str
        Of the expression.
    samples : DataFrame, optional
        sample_id, patient_id, slide_id; written as ``samples_{cohort}.tsv``.

    Raises
    ------
    InputError
        If there is no patient, or the sheets would be refused by a run.
    """
    import pandas as pd

    from pathduet.cohort.sheets import read_patients, read_sheets

    cohort = report.cohort
    if not _ID.fullmatch(cohort):
        raise InputError([Problem("--cohort", repr(cohort), "use letters, digits, dot, underscore, hyphen")])
    if not facts:
        reasons = "; ".join(f"{n} {kind}s: {reason}" for kind, reason, n in report.reasons()[:5])
        raise InputError(
            [Problem(f"import of {cohort}", "no patient is left", reasons or "look at the inputs")]
        )
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"patient_id": p, "cohort": cohort, **{k: facts[p].get(k) for k in FACTS[1:]}} for p in sorted(facts)
    ]
    patients = pd.DataFrame(rows, dtype=object)
    if "event" in patients:
        patients["event"] = [None if v is None or v != v else int(v) for v in patients["event"]]
        patients["cdkn2a"] = [None if v is None or v != v else int(v) for v in patients["cdkn2a"]]
    known = list(schema("patients")["properties"])
    _replace_rows(out / "patients.tsv", cohort, patients, known)
    kept = [slide for slide in slides if slide["patient_id"] in facts]
    for slide in slides:
        if slide["patient_id"] not in facts:
            report.drop(
                "slide", slide["slide_id"], Path(slide["path"]).name, "its patient was not taken over"
            )
    columns = list(schema("slides")["properties"])
    _replace_rows(
        out / "slides.tsv",
        cohort,
        pd.DataFrame([{**s, "cohort": cohort} for s in kept], dtype=object),
        columns,
    )
    report.counts |= {"patients": len(facts), "slides": len(kept)}
    entry: dict[str, Any] | None = None
    if expression is not None:
        table = out / f"expression_{cohort}.parquet"
        with atomic_path(table) as temporary:
            expression.to_parquet(temporary, index=False)
        entry = {"cohort": cohort, "path": str(table), "unit": unit, "samples": None}
        if samples is not None:
            ordered = samples[["sample_id", "patient_id", "slide_id"]].sort_values("sample_id")
            write_tsv(out / f"samples_{cohort}.tsv", ordered)
            entry["samples"] = str(out / f"samples_{cohort}.tsv")
    _write_config(out, cohort, entry)
    report.write(out)
    # the same checks as a run's, so that an import never hands on what will be refused later
    if (out / "slides.tsv").is_file():
        read_sheets(out / "slides.tsv", out / "patients.tsv")
    else:
        read_patients(out / "patients.tsv")


def _replace_rows(path: Path, cohort: str, rows: pd.DataFrame, columns: Iterable[str]) -> None:
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
    kept = [c for c in columns if c in table and (c in ("patient_id", "cohort") or table[c].notna().any())]
    write_tsv(path, table[kept])


def _write_config(out: Path, cohort: str, entry: Mapping[str, Any] | None) -> None:
    """Keep cohorts.yaml: the sheets, every cohort as internal (move external ones yourself), the tables."""
    path = out / "cohorts.yaml"
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    tables = [t for t in value.get("expression", {}).get("tables", []) if t["cohort"] != cohort]
    listed = value.get("cohorts", {"internal": [], "external": []})
    if cohort not in listed["internal"] + listed["external"]:
        listed["internal"].append(cohort)
    value = {
        "sheets": {"slides": str(out / "slides.tsv"), "patients": str(out / "patients.tsv")},
        "cohorts": listed,
        "expression": {
            "tables": sorted([*tables, *([dict(entry)] if entry else [])], key=lambda t: t["cohort"])
        },
    }
    head = "# Written by `pathduet import`; snakemake --configfile this.yaml. Move external cohorts to `external`.\n"
    write_text(path, head + yaml.safe_dump(value, sort_keys=False))
