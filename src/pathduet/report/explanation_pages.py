"""The files drawn from an explanation's tables: SVG figures, and the interactive page of gene correlations.

The page is one HTML file that requests nothing from any server: data, styles and script are embedded, and a content
security policy forbids everything else. Gene and model names come from users' tables: the script treats them as data
and inserts them into the page only as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.catalogue import Model
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.files import write_text
from pathduet.core.html_page import content_hash, script_data, shipped
from pathduet.explain.colours import lighter
from pathduet.explain.words import subspace_word
from pathduet.report.drawing import MUTED, NothingToDraw, new_figure, standalone_svg, style
from pathduet.report.explanation_figures import FIGURES, About, read_table

#: At the end of a figure that only shows the reasons why there is none.
NOTHING_TO_DRAW = "<!-- nothing to draw -->\n"
_DIGITS = 4
#: How much lighter a subspace's colour is on a dark page.
_LIGHTER = 0.35


def about_of(summary: Mapping[str, Any], catalogue: Mapping[str, Model]) -> About:
    """Return the :class:`About` of a ``summary.json``'s figures."""
    task = Task.of(summary["task"]["name"], summary["task"])
    return About(task, tuple(summary["subspaces"]), catalogue)


def figure_name(task: str, file: str) -> str:
    """Return the name of a task's figure in the report."""
    return f"{task}-{file.removesuffix('.svg').replace('_', '-')}"


def draw_explanations(folder: Path, catalogue: Mapping[str, Model]) -> None:
    """Draw every figure and page of a task's folder that ``summary.json`` names.

    A figure whose table is empty shows the reasons.
    """
    summary = json.loads(checked(folder / "summary.json").read_text(encoding="utf-8"))
    about = about_of(summary, catalogue)
    for entry in summary["explanations"]:
        for name in entry["files"]:
            if name in FIGURES:
                make, tables = FIGURES[name]
                title = figure_name(about.task.name, name)
                try:
                    figure = make(*(read_table(folder / table) for table in tables), about)
                    svg = standalone_svg(figure, title)
                except NothingToDraw:
                    drawn = reason_figure(entry["reasons"] or [entry["message"]])
                    svg = standalone_svg(drawn, title) + NOTHING_TO_DRAW
                write_text(folder / name, svg)
            elif name == "gene_correlation.html":
                table = read_table(folder / "gene_correlation.tsv")
                write_text(folder / name, gene_page(table, about, entry))


def reason_figure(reasons: list[str]) -> Any:
    """Return a figure that shows why the real one is missing."""
    import textwrap

    with style():
        lines = [line for reason in reasons[:6] for line in textwrap.wrap(reason, 90)]
        figure = new_figure(7.0, 0.7 + 0.22 * len(lines))
        figure.text(0.02, 0.95, "\n".join(["Not available:", *lines]), va="top", color=MUTED, fontsize=9.5)
        return figure


def gene_page(table: pd.DataFrame, about: About, entry: Mapping[str, Any]) -> str:
    """Return the interactive page of gene correlations.

    Parameters
    ----------
    table : DataFrame
        ``gene_correlation.tsv``.
    about : About
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
    groups = [s for s in about.subspaces if s in {subspace for _, subspace in genes}]
    rest = [s for s in dict.fromkeys(subspace for _, subspace in genes) if s not in groups]
    subspaces = [
        {"id": name, "name": subspace_word(name), "light": colour, "dark": lighter(colour, _LIGHTER)}
        for name, colour in ((s, about.colours[s]) for s in groups)
    ] + [
        {"id": name, "name": "several lists", "light": MUTED, "dark": lighter(MUTED, _LIGHTER)}
        for name in rest
    ]
    data = {
        "models": [{"id": m, "name": about.name(m)} for m in models],
        "subspaces": [{"id": one["id"], "name": one["name"]} for one in subspaces],
        "genes": list(genes.values()),
    }
    script = shipped("pathduet.report", "genes.js")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(shipped("pathduet.report", "genes.html")).render(
        task=about.task.title,
        subspaces=subspaces,
        entry=entry,
        data=script_data(data),
        script=Markup(script),
        script_hash=content_hash(script),
    )
