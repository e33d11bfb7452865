"""Curves of a survival task: the outcomes of patients with similar predicted risk."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pathduet.core.plural import plural
from pathduet.evaluation.predictions import at_unit
from pathduet.evaluation.survival_curves import kaplan_meier, log_rank, pool_groups, risk_cuts
from pathduet.report import figures
from pathduet.report.blocks import Block, Drawer, gap
from pathduet.report.findings import Findings

#: A log-rank test of smaller groups is unreliable.
_FEW = 10


def survival_blocks(found: Findings, name: str, drawer: Drawer) -> list[Block]:
    """Return the curves of risk groups of a survival task, or on the external cohorts."""
    blocks = []
    task, external = found.task_of(name), found.wanted[name].external
    for kind in ("median", "tertiles"):
        curves, sources = {}, set()
        for model in found.models(name):
            parts, source = _groups_of(found, name, model)
            pooled = pool_groups(parts, kind)
            if len(pooled):
                curves[model] = (kaplan_meier(pooled, kind), log_rank(pooled))
                sources.add(source)
        if not curves:
            continue
        told = [model for model, (_, p) in curves.items() if p is not None and p < 0.05]
        message = f"Cut at {'the median' if kind == 'median' else 'tertiles'} of predicted risk, "
        message += f"{len(told)} of {plural(len(curves), 'model')} separate the curves (log-rank p < 0.05)."
        if external:
            cut = "Groups are cut at the ensemble's own quantiles on this cohort (so they are balanced by construction)."
            source = f"external/{task.name}/<model>/ensemble/predictions.tsv"
        else:
            where = " or ".join(sorted(sources))
            cut = f"Cuts: quantiles of each fold's model on the {where}; then the groups of all folds are pooled."
            source = f"models/{name}/<model>/fold-*/predictions.tsv and metrics/{name}.json"
        smallest = min(curve.n for group, _ in curves.values() for curve in group)
        few = (
            f" The smallest group has {plural(smallest, 'patient')}: interpret p with care."
            if smallest < _FEW
            else ""
        )
        blocks.append(
            drawer.draw(
                f"kaplan-meier-{name}-{kind}", figures.risk_group_curves,
                {"curves": curves, "task": task, "catalogue": found.catalogue}, message=message,
                caption=f"{task.title}: share without the event by predicted risk, one case per patient, time in {task.unit}; bands "
                f"are 95 % intervals, ticks censored patients. {cut} p values are not corrected for the number of models.{few}",
                source=source,
            )
        )  # fmt: skip
    return blocks or [gap("No Kaplan-Meier curves.", "No model has predictions.")]


def _groups_of(found: Findings, name: str, model: str) -> tuple[list[tuple[pd.DataFrame, Any]], str]:
    """Return (predictions, cuts) to pool for a model, and the origin of the cuts."""
    if found.wanted[name].external:
        ensemble = found.predictions(name).get(model, [])
        risks = [at_unit(rows, "patient")["risk"].to_numpy(dtype=float) for rows in ensemble]
        return [(rows, risk_cuts(risk)) for rows, risk in zip(ensemble, risks, strict=True)], "its own median"
    collected = found.collected[name]
    parts = [
        (collected.predictions[(model, m["fold"])], m["risk_cuts"])
        for m in collected.metrics.values()
        if m["model"] == model and (model, m["fold"]) in collected.predictions
    ]
    return parts, " or ".join(sorted({cuts["source"] for _, cuts in parts}))
