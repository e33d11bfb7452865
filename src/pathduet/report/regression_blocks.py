"""Figures of a regression: predicted against observed values, and the residuals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathduet.evaluation.predictions import at_unit, labelled
from pathduet.report import prediction_figures
from pathduet.report.blocks import Block, Drawer, gap
from pathduet.report.figures import short_name
from pathduet.report.findings import Findings
from pathduet.report.prediction_figures import Values


def regression_blocks(found: Findings, name: str, drawer: Drawer) -> list[Block]:
    """Return predicted against observed values and residuals of a regression's models, or on external cohorts."""
    task, external = found.task_of(name), found.wanted[name].external
    unit = next((m["unit"] for m in found.collected[name].metrics.values()), "patient")
    source = f"models/{name}/<model>/fold-*/predictions.tsv"
    of = "of the test parts of all folds"
    if external:
        source, of = f"external/{task.name}/<model>/ensemble/predictions.tsv", "of the folds' ensemble"
    values = _values(found, name, unit)
    if not values:
        return [gap("No predicted values.", "No fold of any model has predictions.")]
    shown = {"values": values, "catalogue": found.catalogue}
    return [
        drawer.draw(
            f"predicted-{name}", prediction_figures.predicted_observed, shown, message=_slope_message(found, values),
            caption=f"One dot per {unit}, predictions {of}. Dashed: perfect prediction.", source=source,
        ),
        drawer.draw(
            f"residuals-{name}", prediction_figures.residuals, shown, message="",
            caption="Residuals. Diamonds: mean and 95 % interval of up to five equally large groups of similar prediction; "
            "away from the dashed line predictions of that size are too low (above) or too high (below).",
            source=source,
        ),
    ]  # fmt: skip


def _values(found: Findings, name: str, unit: str) -> Values:
    """Return each model's observed and predicted values, over all folds or of the ensemble."""
    task, values = found.task_of(name), {}
    for model, parts in found.predictions(name).items():
        rows = pd.concat([labelled(at_unit(part, unit), task) for part in parts])
        observed, predicted = (rows[column].to_numpy(dtype=float) for column in ("value", "prediction"))
        if len(rows) and np.isfinite(predicted).all():
            values[model] = observed, predicted
    return values


def _slope_message(found: Findings, values: Values) -> str:
    """Return how observed values rise with predicted ones, for the first model."""
    model, (observed, predicted) = next(iter(values.items()))
    title = short_name(model, found.catalogue)
    if np.ptp(predicted) == 0:
        return f"{title}: every prediction is the same."
    slope = float(np.polyfit(predicted, observed, 1)[0])
    return f"{title}: where it predicts one more, {slope:.2f} more is observed (1 = right spread)."
