"""The input files of a run on a phantom: sheets, gene lists, expression tables, and a designed phantom's configuration."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import demo, merge
from pathduet.core.files import atomic_path, write_text, write_tsv
from pathduet.phantom.design import Design, FileDesign
from pathduet.phantom.labels import without_truth
from pathduet.phantom.layout import REGIONS

if TYPE_CHECKING:
    import pandas as pd

#: Sections of the demo's configuration that suit a small cohort on a laptop.
_OF_THE_DEMO = ("encoder", "model", "training")


def input_files(design: Design) -> list[str]:
    """Return the names, in the cohort's folder, of the files of :func:`write_inputs` and of the expression tables."""
    files = [name for name in design.sheets.values() if name]
    if design.expression:
        files += [design.table(site) for site, _ in _sites(design)]
    if isinstance(design, FileDesign):
        files += [*(f"genes/{name}.txt" for name in design.lists if design.has_own_list(name)), "config.yaml"]
    return files


def write_inputs(out: Path, design: Design, patients: pd.DataFrame, slides: pd.DataFrame) -> None:
    """Write sheets, gene lists and configuration into `out`; only the configuration follows the slides' sheet.

    Parameters
    ----------
    out : Path
        The cohort's folder.
    design : Design
    patients : pandas.DataFrame
        Indexed by patient_id, with the columns of the sheet.
    slides : pandas.DataFrame
        The rows of the slides' sheet; merged with their patients if these have no separate sheet.
    """
    if design.sheets["patients"]:
        _write_sheet(out / design.sheets["patients"], patients.reset_index())
    else:
        slides = slides.join(patients.drop(columns="cohort"), on="patient_id")
    if isinstance(design, FileDesign):
        for name, genes in design.lists.items():
            if design.has_own_list(name):
                write_text(out / "genes" / f"{name}.txt", "\n".join(genes) + "\n")
    if design.sheets["slides"]:
        _write_sheet(out / design.sheets["slides"], slides)
    if isinstance(design, FileDesign):
        write_text(out / "config.yaml", _HEAD + _yaml(configuration(design, out)))


def configuration(design: FileDesign, folder: Path) -> dict[str, Any]:
    """Return the configuration of a run on a designed phantom in `folder`; paths are relative if `folder` is."""
    plan = design.plan
    config: dict[str, Any] = {
        "results": str(folder / "results"),
        "sheets": {key: str(folder / name) if name else None for key, name in design.sheets.items()},
        "cohorts": {key: [site.cohort] for site, key in _sites(design)},
        "tasks": {name: without_truth(entry) for name, entry in plan["tasks"].items()},
        "covariates": {name: without_truth(entry) for name, entry in plan.get("covariates", {}).items()},
        "subspaces": {
            name: str(folder / "genes" / f"{name}.txt") if design.has_own_list(name) else "shipped"
            for name in design.lists
        },
        **{section: demo()[section] for section in _OF_THE_DEMO},
        "report": {"title": plan.get("title", plan["cohort"])},
    }
    if design.expression:
        tables = [
            {"cohort": site.cohort, "path": str(folder / design.table(site)), "unit": "counts"}
            for site, _ in _sites(design)
        ]
        config["expression"] = {"tables": tables}
    if design.sheets["slides"]:
        structures: dict[str, list[str]] = {}
        for region, channel, _ in REGIONS.values():
            if channel in design.channels:
                structures.setdefault(design.channels[channel], []).append(region)
        regions = folder / "truth" / "regions"
        config["explanations"] = {
            "regions": {
                "annotations": str(regions / "{slide_id}.png"),
                "legend": str(regions / "legend.json"),
                "structures": structures,
            }
        }
    return merge(config, plan.get("config", {}))


def write_expression(path: Path, counts: pd.DataFrame) -> None:
    """Write a table as gzipped TSV, atomically and without an embedded time stamp or file name."""
    text = counts.to_csv(sep="\t", lineterminator="\n").encode()
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(text)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


_HEAD = """# A phantom cohort, made by `pathduet simulate --design`. Paths are as the folder was given:
#     snakemake --cores 4 --configfile THIS/FILE
# from the folder in which the cohort was made.
"""


def _sites(design: Design) -> list[tuple[Any, str]]:
    counts = {"internal": design.patients, "external": design.external}
    return [(site, key) for key, site in design.sites.items() if counts[key]]


def _write_sheet(path: Path, table: pd.DataFrame) -> None:
    """Write a sheet in the format of its suffix, atomically. A workbook contains its creation time."""
    if path.suffix == ".tsv":
        write_tsv(path, table)
        return
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
        else:
            table.to_excel(temporary, index=False)


def _yaml(value: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
