"""The last step of imports: patients.tsv, slides.tsv, an expression table with its samples, and the report.

Several cohorts share one folder: a cohort's rows in patients.tsv and slides.tsv are replaced, those of others kept.
``cohorts.yaml`` lists everything for ``--configfile``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path, write_text, write_tsv
from pathduet.core.ids import is_id
from pathduet.core.text_table import require_columns
from pathduet.importers.clinical_values import VALUES, Patients, ReadPatients, read_table
from pathduet.importers.outcomes import settle
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CohortExpression:
    """A cohort's expression before it is written to the sheets.

    Attributes
    ----------
    table : DataFrame
        First column(s) name the gene as in ``expression.table_files.GENE_COLUMNS``, one column per sample.
    unit : str
    samples : DataFrame
        sample_id, patient_id, slide_id.
    """

    table: pd.DataFrame
    unit: str
    samples: pd.DataFrame


def check_survival(patients: Patients, report: ImportReport, *, drop: bool = False) -> None:
    """Set each patient's survival_days and event from the rows: days above 0 with a known status, or record why not.

    Parameters
    ----------
    patients : dict
        Changed in place.
    report : ImportReport
        Its `outcomes` hold the rows' survival.
    drop : bool
        Drop the whole patient (a cohort that is only about survival), not just these two values.
    """
    if not drop and not report.outcomes:
        report.choose("no column of survival_days or event")
        return
    for patient in sorted(patients):
        outcomes = report.outcomes.get(patient, [])
        days, event, reason = settle(outcomes)
        found = "; ".join(map(str, outcomes))
        if not reason and (days is None or event is None):
            missing = [name for name, value in (("survival_days", days), ("event", event)) if value is None]
            reason = f"{' and '.join(missing)} missing"
        elif not reason and days is not None and days <= 0:
            reason = "survival is not above 0 days"
        if not reason:
            patients[patient] |= {"survival_days": days, "event": event}
            continue
        where = outcomes[0].where if outcomes else ""
        report.drop(
            "patient" if drop else "value", patient if drop else f"{patient}.survival", where, reason, found
        )
        if drop:
            del patients[patient]


def drop_without_material(
    patients: Patients,
    slides: Sequence[Mapping[str, Any]],
    expression: CohortExpression | None,
    report: ImportReport,
    where: str,
) -> None:
    """Drop, in place, the patients who have neither a slide nor expression."""
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
        Folder; created if missing.
    report : ImportReport
        Its cohort names the rows; it is also written.
    patients : mapping
        Patient id -> columns of patients.tsv.
    slides : sequence of mapping
        Columns of slides.tsv except the cohort; paths absolute.
    expression : CohortExpression, optional
        Written as ``expression_{cohort}.h5ad`` and ``samples_{cohort}.tsv``.

    Raises
    ------
    InputError
        If there is no patient, or a run would refuse the sheets.
    """
    from pathduet.cohort.sheets import read_sheets
    from pathduet.expression.tables import read_expression

    cohort = report.cohort
    if not is_id(cohort):
        raise InputError.of("--cohort", repr(cohort), "use letters, digits, dot, underscore, hyphen")
    if not patients:
        reasons = "; ".join(f"{n} {kind}s: {reason}" for kind, reason, n in report.reasons()[:5])
        raise InputError.of(f"import of {cohort}", "no patient is left", reasons or "look at the inputs")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError.of("--out", f"{out}: {error.strerror}", "name a folder") from None
    _config_of(out, cohort, None)
    report.counts["patients"] = len(patients)
    sheets = [out / "patients.tsv", out / "slides.tsv"]
    before = {path: path.read_bytes() for path in sheets if path.is_file()}
    entry = None
    # checked as a run would, before anything is kept, so that no result is refused later
    with tempfile.TemporaryDirectory(prefix=".import-", dir=out) as aside:
        if expression is not None:
            entry = write_expression(Path(aside), cohort, expression)
            written = [Path(entry[key]) for key in ("path", "samples")]
            read_expression(written[0], expression.unit, cohort, written[1])
            entry |= {key: str(out / path.name) for key, path in zip(("path", "samples"), written)}
        try:
            _write_patients(sheets[0], cohort, patients)
            report.counts["slides"] = _write_slides(sheets[1], slides, patients, report)
            read_sheets(sheets[1] if sheets[1].is_file() else None, sheets[0])
        except BaseException:
            for path in sheets:
                path.unlink(missing_ok=True)
                if path in before:
                    path.write_bytes(before[path])
            raise
        for path in Path(aside).iterdir():
            path.replace(out / path.name)
    _write_config(out, cohort, entry)
    report.write(out)


def _write_patients(path: Path, cohort: str, patients: ReadPatients) -> None:
    import pandas as pd

    further = dict.fromkeys(name for known in patients.values() for name in known if name not in VALUES)
    names = [*VALUES, *further]
    rows = [
        {"patient_id": p, "cohort": cohort, **{k: patients[p].get(k) for k in names}}
        for p in sorted(patients)
    ]
    table = pd.DataFrame(rows, dtype=object)
    for column in ("event", "cdkn2a"):
        table[column] = [int(v) if isinstance(v, float) else v for v in table[column]]
    _replace_rows(path, cohort, table, ("patient_id", "cohort", *VALUES))


def _write_slides(
    path: Path, slides: Sequence[Mapping[str, Any]], patients: ReadPatients, report: ImportReport
) -> int:
    """Write the slides of the patients that were kept; return their number."""
    import pandas as pd

    from pathduet.core.config import schema

    kept = []
    for slide in slides:
        if slide["patient_id"] in patients:
            kept.append({**slide, "cohort": report.cohort})
        else:
            name = Path(slide["path"]).name
            report.drop("slide", slide["slide_id"], name, "its patient was not imported")
    _replace_rows(path, report.cohort, pd.DataFrame(kept, dtype=object), schema("slides")["properties"])
    return len(kept)


def write_expression(out: Path, cohort: str, expression: CohortExpression) -> dict[str, Any]:
    """Write a cohort's table and its samples into a folder; return the configuration's entry for them."""
    table, samples = out / f"expression_{cohort}.h5ad", out / f"samples_{cohort}.tsv"
    _write_h5ad(table, expression.table)
    ordered = expression.samples[["sample_id", "patient_id", "slide_id"]].sort_values("sample_id")
    write_tsv(samples, ordered)
    return {"cohort": cohort, "path": str(table), "unit": expression.unit, "samples": str(samples)}


def _write_h5ad(path: Path, table: pd.DataFrame) -> None:
    """Write a table of genes in rows as AnnData (genes in columns); var is numbered: symbols may repeat."""
    import anndata
    import pandas as pd

    from pathduet.expression.table_files import GENE_COLUMNS, gene_of

    named = [column for column in GENE_COLUMNS if column in table]
    values = table.drop(columns=named).T
    genes = {column: list(map(gene_of, table[column])) for column in named}
    var = pd.DataFrame({"gene_symbol": genes[named[0]], **genes}, index=list(map(str, range(len(table)))))
    samples = pd.DataFrame(index=values.index.astype(str))
    adata = anndata.AnnData(values.to_numpy(float), obs=samples, var=var)
    with atomic_path(path) as temporary:
        adata.write_h5ad(temporary, compression="lzf")


def _replace_rows(path: Path, cohort: str, rows: pd.DataFrame, first: Iterable[str]) -> None:
    """Replace a cohort's rows in a sheet; columns `first` come first, then the others in their order."""
    import pandas as pd

    parts = []
    if path.is_file():
        before = read_table(path)
        require_columns(before.columns, ("patient_id", "cohort"), f"{path.name} of the folder --out")
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
    """Update cohorts.yaml: the sheets, every cohort as internal (users move external ones), the tables."""
    import yaml

    head = (
        "# Written by `pathduet import`. Move external cohorts to `external`. Name what to predict in a file of your own:\n"
        "#     tasks: {os: {kind: survival, time: survival_days, event: event}}    # or `preset: glioma`\n"
        f"#     pathduet check -c {out / 'cohorts.yaml'} -c mine.yaml\n"
        f"#     pathduet run -c {out / 'cohorts.yaml'} -c mine.yaml\n"
    )
    write_text(out / "cohorts.yaml", head + yaml.safe_dump(_config_of(out, cohort, entry), sort_keys=False))


def _config_of(out: Path, cohort: str, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the new content of cohorts.yaml; raise InputError if an import did not write the existing one."""
    import yaml

    path = out / "cohorts.yaml"
    try:
        value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        tables = [t for t in value.get("expression", {}).get("tables", []) if t["cohort"] != cohort]
        listed = value.get("cohorts", {"internal": [], "external": []})
        if cohort not in listed["internal"] + listed["external"]:
            listed["internal"].append(cohort)
    except (yaml.YAMLError, UnicodeError, AttributeError, KeyError, TypeError):
        found = "not as an import writes it"
        raise InputError.of(str(path), found, "move it away, or give another --out") from None
    return {
        "sheets": {
            name: str(out / f"{name}.tsv") if (out / f"{name}.tsv").is_file() else None
            for name in ("slides", "patients")
        },
        "cohorts": listed,
        "expression": {
            "tables": sorted([*tables, *([dict(entry)] if entry else [])], key=lambda t: t["cohort"])
        },
    }
