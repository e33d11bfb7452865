"""Whether a student's prototypes lie where experts see tumour and microenvironment: Dice, recall, accuracy.

The student divides each slide's tiles into a tumor and a TME prototype; an annotation says which structure a tile shows,
and the configuration which structures belong to the tumor and which to the TME (defaults: the paper's reading of
the Ivy Glioblastoma Atlas). Of the annotated tiles of a slide and magnification, with T = tiles of tumor
structures and P = tiles of the tumor prototype:

- Dice = 2 |T and P| / (|T| + |P|), recall = |T and P| / |T|: the paper's measures of the tumor clusters;
- TME accuracy = share of the TME structures' tiles that are in the TME prototype: its measure of the TME clusters;
- both also by structure: share of its tiles in the prototype it belongs to.

Slides are averaged by patient, patients are resampled for the interval. Beside each number stands what a
division of the same size that knows nothing would reach, since a prototype that swallows the slide has a recall of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.evaluation.bootstrap import interval, patient_counts
from pathduet.explain.annotations import Annotation
from pathduet.explanation_files import REGION_MEASURES, plain_name

if TYPE_CHECKING:
    import pandas as pd


def annotate(
    tiles: pd.DataFrame, annotation: Annotation, tumor: Sequence[str], tme: Sequence[str]
) -> pd.DataFrame:
    """Return the tiles with `structure` ("" = not annotated) and `side` (``tumor``, ``tme`` or "")."""
    side_of = {plain_name(name): "tumor" for name in tumor} | {plain_name(name): "tme" for name in tme}
    structures = [
        annotation.structure_of(x, y, width, height)
        for x, y, width, height in tiles[["x", "y", "size", "size_y"]].itertuples(index=False)
    ]
    sides = [side_of.get(plain_name(name), "") for name in structures]
    return tiles.assign(structure=structures, side=sides)


def slide_scores(tiles: pd.DataFrame) -> dict[str, float | int]:
    """Return Dice, recall and TME accuracy of one slide and magnification, and those of chance; NaN where undefined.

    Parameters
    ----------
    tiles : DataFrame
        `prototype` and `side` of each tile; tiles without a side are not counted.
    """
    counted = tiles["side"].to_numpy() != ""
    tumor = tiles["side"].to_numpy()[counted] == "tumor"
    called = tiles["prototype"].to_numpy()[counted] == "tumor"
    n, n_tumor, n_called, hit = len(tumor), int(tumor.sum()), int(called.sum()), int((tumor & called).sum())

    def ratio(a: float, b: float) -> float:
        return a / b if b else float("nan")

    share, n_tme = ratio(n_called, n), n - n_tumor
    return {
        "tiles": n,
        "tumor_tiles": n_tumor,
        "dice": ratio(2 * hit, n_tumor + n_called) if n_tumor else float("nan"),
        "recall": ratio(hit, n_tumor),
        "tme_accuracy": ratio(n_tme - (n_called - hit), n_tme),
        # tiles of the prototype dealt at random over the annotated ones
        "dice_chance": ratio(2 * n_tumor * share, n_tumor + n_called) if n_tumor else float("nan"),
        "recall_chance": share if n_tumor else float("nan"),
        "tme_accuracy_chance": 1 - share if n_tme else float("nan"),
    }


def structure_scores(tiles: pd.DataFrame) -> pd.DataFrame:
    """Return, by structure, its tiles and the share of them in the prototype it belongs to."""
    import pandas as pd

    counted = tiles[tiles["side"] != ""]
    right = (counted["prototype"] == counted["side"]).astype(float)
    groups = right.groupby([counted["side"], counted["structure"]], sort=True)
    table = groups.agg(["size", "mean"]).reset_index()
    table.columns = pd.Index(["side", "structure", "tiles", "accuracy"])
    return table[["structure", "side", "tiles", "accuracy"]]


def patient_mean(
    table: pd.DataFrame, column: str, seed: int, resamples: int
) -> tuple[float, float, float, int]:
    """Return mean over patients (of means over their slides), its 95 % interval and the number of patients."""
    known = table[table[column].notna()]
    values = known.groupby("patient_id", sort=True)[column].mean().to_numpy(dtype=float)
    if not len(values):
        return float("nan"), float("nan"), float("nan"), 0
    low, high = float("nan"), float("nan")
    if resamples and len(values) > 1:
        weight = patient_counts(len(values), resamples, np.random.default_rng(seed))
        low, high = interval((weight @ values) / weight.sum(axis=1)) or (low, high)
    return float(values.mean()), low, high, len(values)


def agreement_table(
    slides: pd.DataFrame, structures: pd.DataFrame, *, seed: int, resamples: int
) -> pd.DataFrame:
    """Return the agreement of every model, part and magnification.

    Parameters
    ----------
    slides : DataFrame
        One row a slide, model, fold and magnification: model, part, magnification, patient_id, and :func:`slide_scores`.
    structures : DataFrame
        The same with :func:`structure_scores`.

    Returns
    -------
    DataFrame
        model, part (``test`` or ``external``), magnification, measure (``dice``, ``recall``, ``tme_accuracy``, or
        ``structure``), structure, side, value, ci_low, ci_high, chance, patients, tiles.
    """
    import pandas as pd

    rows = []
    for (model, part, m), group in slides.groupby(["model", "part", "magnification"], sort=False):
        for measure in REGION_MEASURES:
            value, low, high, n = patient_mean(group, measure, seed, resamples)
            chance = patient_mean(group, f"{measure}_chance", seed, 0)[0]
            side = "tme" if measure == "tme_accuracy" else "tumor"
            counted = group["tumor_tiles"] if side == "tumor" else group["tiles"] - group["tumor_tiles"]
            rows.append([model, part, m, measure, "", side, value, low, high, chance, n, int(counted.sum())])
        own = structures[
            (structures["model"] == model) & (structures["part"] == part) & (structures["magnification"] == m)
        ]
        for (group_side, structure), tiles in own.groupby(["side", "structure"], sort=True):
            value, low, high, n = patient_mean(tiles, "accuracy", seed, resamples)
            chance = patient_mean(tiles, "chance", seed, 0)[0]
            total = int(tiles["tiles"].sum())
            rows.append(
                [model, part, m, "structure", structure, group_side, value, low, high, chance, n, total]
            )
    names = ["model", "part", "magnification", "measure", "structure", "side", "value", "ci_low", "ci_high", "chance",
             "patients", "tiles"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def score_slide(
    tiles: pd.DataFrame, facts: Mapping[str, Any]
) -> tuple[list[dict[str, object]], list[pd.DataFrame]]:
    """Return rows for :func:`agreement_table` of one annotated slide: (slides, structures).

    Parameters
    ----------
    tiles : DataFrame
        From :func:`annotate`.
    facts : mapping
        model, part, fold, slide_id, patient_id.
    """
    rows, parts = [], []
    for m, group in tiles.groupby("magnification", sort=True):
        scores = slide_scores(group)
        if not scores["tiles"]:
            continue
        rows.append({**facts, "magnification": m, **scores})
        called = (group.loc[group["side"] != "", "prototype"] == "tumor").mean()
        by_structure = structure_scores(group)
        by_structure["chance"] = np.where(by_structure["side"] == "tumor", called, 1 - called)
        parts.append(by_structure.assign(**facts, magnification=m))
    return rows, parts
