"""A result table on disk: TSV for programs, Markdown and a sortable HTML page for people, a figure."""

from __future__ import annotations

import base64
from importlib import resources

import jinja2
import pandas as pd

from pathduet.core.files import write_text, write_tsv
from pathduet.evaluation.table_figure import caption, draw_table
from pathduet.evaluation.table_sections import TableSection, Words, markdown, table_sections
from pathduet.results import Results


def page(title: str, sections: list[TableSection], svg: str | None = None, caption_text: str = "") -> str:
    """Return a self-contained HTML page; all printed text is escaped, and nothing is loaded from elsewhere.

    Parameters
    ----------
    title : str
    sections : list of TableSection
    svg : str, optional
        The figure. It is embedded as an image, so that its scripts cannot run.
    caption_text : str
        Text below the figure, and its text alternative.
    """
    source = resources.files("pathduet.evaluation").joinpath("table_page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    figure = ""
    if svg:
        figure = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return template.render(title=title, sections=sections, figure=figure, caption=caption_text) + "\n"


def write_table(
    table: pd.DataFrame,
    results: Results,
    name: str,
    title: str,
    words: Words,
    calibration: pd.DataFrame | None = None,
) -> None:
    """Write a table as TSV, Markdown, HTML page and SVG figure.

    Parameters
    ----------
    table : DataFrame
        From :func:`pathduet.evaluation.tables.result_table`, optionally with a leading `group` column.
    name, title : str
        Name in paths, and heading.
    words : Words
        The names of tasks and models.
    calibration : DataFrame, optional
        model, fold, of, measure, value: a section of the Markdown and of the HTML page.
    """
    svg = draw_table(table, title, {name: task.title for name, task in words.tasks.items()})
    sections = [] if table.empty else table_sections(table, words, calibration)
    write_tsv(results.table(name), table)
    write_text(results.table(name, ".md"), markdown(title, sections))
    write_text(results.table(name, ".svg"), svg)
    write_text(results.table(name, ".html"), page(title, sections, svg, caption(table)))
