"""The section about what models looked at: the figures, numbers and gaps of ``results/explanations``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.explain.files import EMBEDDING_MEASURES, explanations_of
from pathduet.report import explanation_figures, figures
from pathduet.report.blocks import Block, Drawer, Section, heading, hole, note, table
from pathduet.report.findings import Findings

_TITLES = {
    "embedding": "Representations",
    "gene_correlation": "Genes and predicted malignancy",
    "region_agreement": "Prototypes and regions",
    "gene_attention": "Gene attention",
    "survival": "Survival at chosen days",
}
_CAPTIONS = {
    "embedding.svg": "Test patients of each fold (one network a fold), placed by {method}; colours: {classes}. Distances between "
    "clouds mean little: read the scores.",
    "embedding_scores.svg": "In the representation space itself. Open dots: folds. Diamond: their mean. Band: 95 % patient "
    "bootstrap interval. Dashed: what knows nothing.",
    "gene_correlation.svg": "A dot a gene; filled: q < 0.05. Score: {score_name}; test patients only, r within folds, combined by "
    "Fisher's z. A teacher reads the expression, a student only slides. To hover, filter and compare: the "
    "interactive page.",
    "region_agreement.svg": "Diamonds: mean over patients with its 95 % interval. Upright marks: a division of the same size that "
    "knows nothing.",
    "gene_attention.svg": "A dot a gene, mean over test patients and folds. 1 = as much as any other gene, or as much as the tiles' "
    "share.",
    "calibration.svg": "Groups of like predicted survival; the dashed line is perfect calibration. Bars: 95 % intervals.",
    "dynamic_auc.svg": "Chance that of a patient dead by then and one alive, the former has the higher risk. Bars: SD over folds.",
}
_METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
#: Figures that the survival section of the report has already.
_ELSEWHERE = ("risk_groups.svg",)
#: More reasons than this are in the file only.
_REASONS = 8


def explanations(found: Findings, drawer: Drawer) -> Section:
    """Return the section of all tasks' explanations."""
    section = Section(
        "explanations", "Explanations",
        "What the networks looked at, on test patients only (definitions: docs/explanations.md).",
    )  # fmt: skip
    for task in found.tasks:
        path = f"explanations/{task}/summary.json"
        summary = found.read(path, _read_json)
        if summary is None:
            section.blocks.append(hole(f"No explanations of {task}.", f"{path}: {found.holes.get(path, '')}"))
            continue
        section.blocks.append(heading(f"explanations-{task}", task.capitalize()))
        entries = {entry["name"]: entry for entry in summary["explanations"]}
        for name in explanations_of(task, found.config["explanations"]["malignancy_scores"]):
            if name in entries:
                section.blocks += _blocks(found, task, entries[name], summary.get("models", ()), drawer)
    return section


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _regions(found: Findings) -> bool:
    """Whether region annotations were named."""
    return bool(found.config["explanations"].get("regions", {}).get("annotations"))


def _joined(reasons: Sequence[str], models: Sequence[str]) -> list[str]:
    """Say once what several models have in common: ``teacher: x``, ``abmil: x`` becomes ``Teacher, ABMIL: x``."""
    whose: dict[str, list[str]] = {}
    for reason in reasons:
        model, _, rest = str(reason).partition(": ")
        if model in models:
            whose.setdefault(rest, []).append(figures.short_name(model))
        else:
            whose.setdefault(str(reason), [])
    every = len(models)
    return [
        reason if not names else f"{'all models' if len(names) == every > 1 else ', '.join(names)}: {reason}"
        for reason, names in whose.items()
    ]


def _blocks(
    found: Findings, task: str, entry: Mapping[str, Any], models: Sequence[str], drawer: Drawer
) -> list[Block]:
    title, folder = f"{task.capitalize()}: {_TITLES[entry['name']].lower()}", f"explanations/{task}"
    reasons = _joined(entry["reasons"], models)
    blocks: list[Block] = []
    message = entry["message"]
    for name in entry["files"]:
        if name not in explanation_figures.FIGURES or name in _ELSEWHERE:
            continue
        make, wanted = explanation_figures.FIGURES[name]
        tables = [found.read(f"{folder}/{table}", explanation_figures.read_table) for table in wanted]
        if any(one is None for one in tables):
            lost = [f"{folder}/{t}" for t, one in zip(wanted, tables, strict=True) if one is None]
            blocks.append(hole(f"{title}.", "; ".join(f"{p}: {found.holes.get(p, '')}" for p in lost)))
            continue
        try:
            make(*tables)
        except explanation_figures.NothingToDraw:
            why = "; ".join(reasons[:_REASONS]) or message
            reasons = reasons[_REASONS:]  # said
            # what was not asked for is not missing
            asked = entry["name"] != "region_agreement" or _regions(found)
            blocks.append(hole(f"{title}: nothing to draw.", why) if asked else note(f"{title}: {why}."))
            continue
        except Exception:  # the drawer turns whatever is wrong with a table into a hole
            pass
        blocks.append(
            drawer.draw(
                f"{task}-{name.removesuffix('.svg').replace('_', '-')}", _Given(make, tables), {},
                message=f"{title}. {message}" if message else "",
                caption=_CAPTIONS[name].format(
                    **{"classes": "", "score_name": "", **entry, "method": _METHODS.get(entry.get("method", ""), "")}
                ),
                source=_source(folder, name, wanted[0]),
            )
        )  # fmt: skip
        message = ""
    numbers = _numbers(found, task, entry["name"])
    if numbers is not None:
        blocks.append(numbers)
    if reasons:
        more = (
            f" ({len(reasons) - _REASONS} more in {folder}/summary.json)" if len(reasons) > _REASONS else ""
        )
        blocks.append(note(f"{title}, left out or not defined: {'; '.join(reasons[:_REASONS])}{more}."))
    return blocks


def _source(folder: str, figure: str, data: str) -> str:
    page = f"; interactive: {folder}/gene_correlation.html" if figure == "gene_correlation.svg" else ""
    return f"{folder}/{data}{page}"


class _Given:
    """A figure function with its tables, as the drawer calls it."""

    def __init__(self, make: Any, tables: list[Any]) -> None:
        self.make, self.tables = make, tables

    def __call__(self) -> Any:
        return self.make(*self.tables)


def _numbers(found: Findings, task: str, name: str) -> Block | None:
    """Return the explanation's numbers as a folded table, where a figure alone does not give them."""
    folder = f"explanations/{task}"
    if name == "embedding":
        path = f"{folder}/embedding_scores.tsv"
        rows = found.read(path, explanation_figures.read_table)
        if rows is None or rows.empty:
            return None
        rows = rows[rows["fold"] == "mean"]
        body = [
            [figures.short_name(r["model"]), EMBEDDING_MEASURES.get(r["measure"], r["measure"]), _interval(r),
             _short(r["chance"]), r["n_patients"]]
            for r in rows.to_dict("records")
        ]  # fmt: skip
        columns = ["Model", "Measure", "Mean of folds", "Chance", "Patients"]
    elif name == "gene_correlation":
        path = f"{folder}/gene_correlation_summary.tsv"
        rows = found.read(path, explanation_figures.read_table)
        if rows is None or rows.empty:
            return None
        body = [
            [figures.short_name(r["model"]), r["subspace"], r["genes"], _short(r["median_abs_r"]), _short(r["largest_abs_r"]),
             r["top_gene"], r["significant"], r["n_patients"]]
            for r in rows.to_dict("records")
        ]  # fmt: skip
        columns = [
            "Model",
            "Genes of",
            "Genes",
            "Median |r|",
            "Largest |r|",
            "Top gene",
            "q < 0.05",
            "Patients",
        ]
    elif name == "region_agreement":
        path = f"{folder}/region_agreement.tsv"
        rows = found.read(path, explanation_figures.read_table)
        if rows is None or rows.empty:
            return None
        body = [
            [figures.short_name(r["model"]), r["part"], r["magnification"],
             r["structure"].replace("_", " ") or r["measure"].replace("_", " "), r["side"], _interval(r), _short(r["chance"]),
             r["patients"], r["tiles"]]
            for r in rows.to_dict("records")
        ]  # fmt: skip
        columns = [
            "Model",
            "Part",
            "Magnification",
            "Measure or structure",
            "Side",
            "Value",
            "Chance",
            "Patients",
            "Tiles",
        ]
    else:
        return None
    return table(f"{task}-{name}", columns, body, numbers=columns[2:], title=f"{task.capitalize()}: {_TITLES[name].lower()}, the numbers",
                 source=path, folded=True)  # fmt: skip


def _short(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _interval(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["value"]):
        return "not defined"
    limits = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    return f"{row['value']:.2f}{limits}"
