"""The files beside an explanation's tables: SVG figures, and the interactive page of gene correlations.

The page is one HTML file that asks no server for anything: data, styles and script are inside, and a content security
policy forbids everything else. Gene and model names come from users' tables: they are data to the script, which puts
them in the page as text only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.core.files import write_text
from pathduet.core.html_page import content_hash, script_data, shipped
from pathduet.report.drawing import MUTED, NothingToDraw, new_figure, standalone_svg, style
from pathduet.report.explanation_figures import FIGURES, read_table
from pathduet.report.figures import short_name

_DIGITS = 4


def draw_explanations(folder: Path) -> None:
    """Draw every figure and page of a task's folder that ``summary.json`` names.

    A figure whose table is empty says so, with the reasons.
    """
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for entry in summary["explanations"]:
        for name in entry["files"]:
            if name in FIGURES:
                make, tables = FIGURES[name]
                try:
                    figure = make(*(read_table(folder / table) for table in tables))
                except NothingToDraw:
                    figure = reason_figure(entry["reasons"] or [entry["message"]])
                write_text(folder / name, standalone_svg(figure, f"{summary['task']}-{name}"))
            elif name == "gene_correlation.html":
                table = read_table(folder / "gene_correlation.tsv")
                write_text(folder / name, gene_page(table, summary["task"], entry))


def reason_figure(reasons: list[str]) -> Any:
    """Return a figure that says why there is none."""
    import textwrap

    with style():
        lines = [line for reason in reasons[:6] for line in textwrap.wrap(reason, 90)]
        figure = new_figure(7.0, 0.7 + 0.22 * len(lines))
        figure.text(0.02, 0.95, "\n".join(["Not available:", *lines]), va="top", color=MUTED, fontsize=9.5)
        return figure


def gene_page(table: pd.DataFrame, task: str, entry: Mapping[str, Any]) -> str:
    """Return the interactive page of gene correlations.

    Parameters
    ----------
    table : DataFrame
        ``gene_correlation.tsv``.
    entry : mapping
        The summary's entry: ``score_name``, ``message``, ``reasons``.
    """
    import jinja2
    from markupsafe import Markup

    models = list(dict.fromkeys(table["model"].astype(str))) if len(table) else []
    genes: dict[tuple[str, str], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        gene = genes.setdefault(
            (row["gene"], row["subspace"]),
            {"g": row["gene"], "s": row["subspace"], "p": bool(row["pointed_out"]), "m": {}},
        )
        if pd.notna(row["r"]):
            q = float(f"{row['q']:.2e}")
            gene["m"][row["model"]] = [round(row["r"], _DIGITS), q, int(row["rank"]), int(row["n_patients"])]
    data = {"models": [{"id": m, "name": short_name(m)} for m in models], "genes": list(genes.values())}
    script = shipped("pathduet.report", "genes.js")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(shipped("pathduet.report", "genes.html")).render(
        task=task,
        entry=entry,
        data=script_data(data),
        script=Markup(script),
        script_hash=content_hash(script),
    )
