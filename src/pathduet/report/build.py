"""The report: one HTML file that needs nothing else and asks no server for anything.

Pictures, figures, styles and the small script are inside; a content security policy forbids every request and
every script but that one (by its hash). Everything that comes from users or files is escaped by the template.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathduet.core.checksums import record
from pathduet.core.files import write_text
from pathduet.core.html_page import content_hash, page_style, shipped
from pathduet.report import (
    cohort_sections,
    explanation_sections,
    gene_section,
    heatmap_section,
    model_sections,
    run_sections,
    slide_sections,
)
from pathduet.report.blocks import Drawer, Section, artifacts, text
from pathduet.report.findings import Findings


def build_report(
    results: str | os.PathLike[str],
    config: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    title: str | None = None,
    notice: str = "",
    configfiles: Sequence[str] = (),
) -> None:
    """Write the report of a results folder, and its figures beside it as ``figures/*.svg``.

    The same artifacts give the same bytes. What is missing or broken is shown as a gap with its reason.

    Parameters
    ----------
    results : path
        The results folder.
    config : mapping
        The complete configuration (`config.resolve`).
    out : path
        The HTML file.
    title : str, optional
        Heading; ``config["report"]["title"]`` if not given.
    notice : str
        A sentence shown on top; by default, that the slides are simulated if they are.
    configfiles : sequence of str
        What the run was started with as ``--configfile``; the commands on the page name it, too.
    """
    import jinja2
    from markupsafe import Markup

    out = Path(out)
    found = Findings(Path(results), config)
    drawer = Drawer(out.parent / "figures")
    sections = [
        model_sections.headline(found),
        cohort_sections.flow(found),
        cohort_sections.data(found, drawer),
        *(model_sections.task_section(found, name, drawer) for name in found.wanted),
        *model_sections.endpoints(found, drawer),
        explanation_sections.explanations(found, drawer),
        *_slides(found, drawer),
        gene_section.genes(found, drawer),
        model_sections.training(found, drawer),
        *([slide_sections.ledger(found, drawer)] if found.has_slides else []),
        run_sections.times(found, drawer),
        run_sections.run(found),
        run_sections.glossary(found),
    ]
    script = shipped("pathduet.report", "report.js")
    environment = jinja2.Environment(autoescape=True)
    environment.filters["artifacts"] = lambda source: artifacts(source, Path(results))
    html = environment.from_string(shipped("pathduet.report", "report.html")).render(
        title=title or config["report"]["title"],
        subtitle=_subtitle(config),
        notice=notice or _notice(config),
        sections=sections,
        base=os.path.relpath(results, out.parent),
        results=os.fspath(results),
        command=shlex.join(
            ["snakemake", "--cores", "1", *(["--configfile", *configfiles] if configfiles else [])]
        ),
        css=Markup(page_style("pathduet.report", "report.css")),
        script=Markup(script),
        script_hash=content_hash(script),
    )
    write_text(out, html)
    drawer.remove_stale()
    record([out.parent / "figures"])


def _slides(found: Findings, drawer: Drawer) -> list[Section]:
    """Return what there is to see of slides; without any, one line that says so."""
    if found.has_slides:
        return [
            heatmap_section.heatmaps(found),
            slide_sections.gallery(found),
            slide_sections.stain(found, drawer),
        ]
    why = "No heatmaps, pictures, stains and slide ledger: the configuration names no sheet of slides (sheets.slides)."
    return [Section("slides", "Slides", blocks=[text(why)])]


def _subtitle(config: Mapping[str, Any]) -> str:
    internal = ", ".join(config["cohorts"]["internal"])
    external = ", ".join(config["cohorts"]["external"]) or "none"
    return (
        f"Internal: {internal}. External: {external}. {config['split']['folds']} folds by patient, {config['protocol']} protocol, "
        f"seed {config['seed']}."
    )


def _notice(config: Mapping[str, Any]) -> str:
    """Say so if the sheet belongs to a simulated cohort (``pathduet simulate`` leaves a record beside it)."""
    sheet = config["sheets"]["slides"] or config["sheets"]["patients"]
    if (Path(sheet).parent / "simulation.json").is_file():
        return (
            "Simulated cohort: the data and outcomes were made by PathDuet's phantom. The numbers show that the "
            "pipeline runs and finds what was put in; they say nothing about patients."
        )
    return ""
