"""The section about the explanations: the figures, numbers and gaps of ``results/explanations``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from pathduet.explain.files import EMBEDDING_MEASURES, REGION_MEASURES
from pathduet.explain.words import listed, subspace_word
from pathduet.report.blocks import Block, Drawer, Section, gap, heading, note, table
from pathduet.report.explanation_figures import FIGURES, About, read_table
from pathduet.report.explanation_pages import NOTHING_TO_DRAW, about_of, figure_name
from pathduet.report.findings import Findings, read_json, read_text

#: A row of a table -> the content of a cell.
Cell = Callable[[Mapping[Any, Any], About], Any]
_TITLES = {
    "embedding": "Representations",
    "gene_correlation": "Genes and predicted malignancy",
    "region_agreement": "Prototypes and regions",
    "top_tiles": "Tiles of the prototypes",
    "gene_attention": "Gene attention",
    "survival": "Survival at chosen days",
}
_CAPTIONS = {
    "embedding.svg": "Test patients of each fold (one network per fold), placed by {method}; colours: {classes}. Distances between "
    "clouds mean little: read the scores.",
    "embedding_scores.svg": "In the representation space itself. Open dots: folds. Diamond: their mean. Band: 95 % patient "
    "bootstrap interval. Dashed: no better than chance.",
    "gene_correlation.svg": "One dot per gene; filled: q < 0.05. Score: the {score_name}; test patients only, r within folds, combined by "
    "Fisher's z. A teacher reads the expression, a student only slides. The interactive page has filters and details.",
    "region_agreement.svg": "Diamonds: mean over patients with its 95 % interval. Vertical marks: a random division of the same size.",
    "top_tiles.svg": "The tiles with the greatest weight in each prototype's mean (eq. 12), two per slide, as scanned. Slides of test patients, "
    "ranked within their fold by their prediction.",
    "gene_attention.svg": "One dot per gene, mean over test patients and folds. 1 = the same as every other gene, or as the tiles' share.",
    "calibration.svg": "Groups of similar predicted probability to be free of the event; the dashed line is perfect calibration. Bars: "
    "95 % intervals.",
    "dynamic_auc.svg": "Probability that a patient with the event by then has a higher risk than one without. Bars: SD "
    "over folds.",
}
_METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
#: Figures that the survival section of the report already shows.
_ELSEWHERE = ("risk_groups.svg",)
#: Maximum number of reasons shown; the file lists all.
_REASONS = 8


def explanations(found: Findings, drawer: Drawer) -> Section:
    """Return the section of all tasks' explanations."""
    section = Section(
        "explanations", "Explanations",
        "What the networks looked at, on test patients only (definitions: docs/explanations.md).",
    )  # fmt: skip
    for name, task in found.tasks.items():
        path = f"explanations/{name}/summary.json"
        summary = found.read(path, read_json)
        if summary is None:
            section.blocks.append(found.gap(f"No explanations of {task.in_sentence}.", path))
            continue
        section.blocks.append(heading(f"explanations-{name}", task.title))
        about = about_of(summary, found.catalogue)
        for entry in summary["explanations"]:
            section.blocks += _Explanation(found, drawer, about, entry, summary["models"]).blocks()
        for reason in dict.fromkeys(summary["left_out"].values()):
            titles = [_TITLES[one].lower() for one, why in summary["left_out"].items() if why == reason]
            section.blocks.append(note(f"{task.title}, left out: {listed(titles)}: {reason}."))
    return section


def _joined(reasons: Sequence[str], models: Sequence[str], about: About) -> list[str]:
    """Merge messages that several models share: ``teacher: x``, ``abmil: x`` becomes ``Teacher, ABMIL: x``."""
    whose: dict[str, list[str]] = {}
    for reason in reasons:
        model, _, rest = str(reason).partition(": ")
        if model in models:
            whose.setdefault(rest, []).append(about.name(model))
        else:
            whose.setdefault(str(reason), [])
    every = len(models)
    return [
        reason if not names else f"{'all models' if len(names) == every > 1 else ', '.join(names)}: {reason}"
        for reason, names in whose.items()
    ]


class _Explanation:
    """One explanation of a task: its figures, its numbers, and its gaps."""

    def __init__(
        self, found: Findings, drawer: Drawer, about: About, entry: Mapping[str, Any], models: Sequence[str]
    ) -> None:
        self.found, self.drawer, self.about, self.entry = found, drawer, about, entry
        self.task = about.task.name
        self.title = f"{about.task.title}: {_TITLES[entry['name']].lower()}"
        self.folder = f"explanations/{self.task}"
        self.message = entry["message"]
        #: Reasons that no block has shown yet.
        self.reasons = _joined(entry["reasons"], models, about)

    def blocks(self) -> list[Block]:
        """Return the explanation's blocks for the page."""
        names = [n for n in self.entry["files"] if n in FIGURES and n not in _ELSEWHERE]
        blocks = [self._figure(name) for name in names]
        if self.entry["name"] in _NUMBERS and (numbers := self._numbers(*_NUMBERS[self.entry["name"]])):
            blocks.append(numbers)
        if self.reasons:
            left = len(self.reasons) - _REASONS
            more = f" ({left} more in {self.folder}/summary.json)" if left > 0 else ""
            told = "; ".join(self.reasons[:_REASONS])
            blocks.append(note(f"{self.title}, omitted or undefined: {told}{more}."))
        return blocks

    def _figure(self, name: str) -> Block:
        svg = self.found.read(f"{self.folder}/{name}", read_text)
        if svg is None:
            return self.found.gap(f"{self.title}.", f"{self.folder}/{name}")
        if svg.endswith(NOTHING_TO_DRAW):
            return self._nothing()
        page = f"; interactive: {self.folder}/gene_correlation.html" if name == "gene_correlation.svg" else ""
        told = {"classes": "", "score_name": "", **self.entry}
        told["method"] = _METHODS.get(self.entry.get("method", ""), "")
        block = self.drawer.show(
            figure_name(self.task, name), svg,
            message=f"{self.title}. {self.message}" if self.message else "",
            caption=_CAPTIONS[name].format(**told),
            source=f"{self.folder}/{FIGURES[name][1][0]}{page}",
        )  # fmt: skip
        self.message = ""  # shown once
        return block

    def _nothing(self) -> Block:
        why = "; ".join(self.reasons[:_REASONS]) or self.message
        self.reasons = self.reasons[_REASONS:]
        regions = self.found.config["explanations"].get("regions", {}).get("annotations")
        # what was not requested is not missing
        if self.entry["name"] == "region_agreement" and not regions:
            return note(f"{self.title}: {why}.")
        return gap(f"{self.title}: nothing to draw.", why)

    def _numbers(self, file: str, columns: Mapping[str, Cell]) -> Block | None:
        """Return the explanation's numbers as a collapsed table, if a figure alone does not show them."""
        path = f"{self.folder}/{file}"
        rows = self.found.read(path, read_table)
        if rows is None or rows.empty:
            return None
        if self.entry["name"] == "embedding":
            rows = rows[rows["fold"] == "mean"]
        body = [[cell(row, self.about) for cell in columns.values()] for row in rows.to_dict("records")]
        return table(f"{self.task}-{self.entry['name']}", list(columns), body, numbers=list(columns)[2:],
                     title=f"{self.title}, the numbers", source=path, folded=True)  # fmt: skip


def _told(name: str) -> Cell:
    return lambda row, _: row[name]


def _two_digits(name: str) -> Cell:
    return lambda row, _: "" if pd.isna(row[name]) else f"{row[name]:.2f}"


def _interval(row: Mapping[Any, Any], _: About) -> str:
    if pd.isna(row["value"]):
        return "not defined"
    limits = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    return f"{row['value']:.2f}{limits}"


def _model(row: Mapping[Any, Any], about: About) -> str:
    return about.name(row["model"])


#: By explanation, the file of its numbers and the cell content of each column.
_NUMBERS: dict[str, tuple[str, dict[str, Cell]]] = {
    "embedding": ("embedding_scores.tsv", {
        "Model": _model,
        "Measure": lambda row, about: EMBEDDING_MEASURES[about.task.kind].get(row["measure"], row["measure"]),
        "Mean of folds": _interval,
        "Chance": _two_digits("chance"),
        "Patients": _told("n_patients"),
    }),
    "gene_correlation": ("gene_correlation_summary.tsv", {
        "Model": _model,
        "Genes of": lambda row, about: about.genes_of(row["subspace"]).removesuffix(" genes"),
        "Genes": _told("genes"),
        "Median |r|": _two_digits("median_abs_r"),
        "Largest |r|": _two_digits("largest_abs_r"),
        "Top gene": _told("top_gene"),
        "q < 0.05": _told("significant"),
        "Patients": _told("n_patients"),
    }),
    "region_agreement": ("region_agreement.tsv", {
        "Model": _model,
        "Part": _told("part"),
        "Magnification": _told("magnification"),
        "Measure or structure": lambda row, _: (row["structure"] or REGION_MEASURES[row["measure"]]).replace("_", " "),
        "Subspace": lambda row, _: subspace_word(row["subspace"]),
        "Value": _interval,
        "Chance": _two_digits("chance"),
        "Patients": _told("patients"),
        "Tiles": _told("tiles"),
    }),
}  # fmt: skip
