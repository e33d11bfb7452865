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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.catalogue import named
from pathduet.core.errors import InputError
from pathduet.core.files import write_tsv
from pathduet.core.progress import track
from pathduet.evaluation.bootstrap import interval, patient_counts
from pathduet.explain.annotated_slides import AnnotatedSlides
from pathduet.explain.files import REGION_MEASURES, TABLES
from pathduet.explain.fold_results import TaskRun
from pathduet.explain.tile_maps import loaded_slide_maps
from pathduet.results import DESCRIPTION
from pathduet.training.model_folder import load_model

if TYPE_CHECKING:
    import pandas as pd

#: Roles of the models that divide a slide into prototypes, the one that the summary speaks of first.
_WITH_PROTOTYPES = ("distilled", "student")


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
    tiles: pd.DataFrame, about: Mapping[str, Any]
) -> tuple[list[dict[str, object]], list[pd.DataFrame]]:
    """Return rows for :func:`agreement_table` of one annotated slide: (slides, structures).

    Parameters
    ----------
    tiles : DataFrame
        `magnification`, `prototype`, `structure` and `side` of each tile.
    about : mapping
        model, part, fold, slide_id, patient_id.
    """
    rows, parts = [], []
    for m, group in tiles.groupby("magnification", sort=True):
        scores = slide_scores(group)
        if not scores["tiles"]:
            continue
        rows.append({**about, "magnification": m, **scores})
        in_tumor = (group.loc[group["side"] != "", "prototype"] == "tumor").mean()
        by_structure = structure_scores(group)
        by_structure["chance"] = np.where(by_structure["side"] == "tumor", in_tumor, 1 - in_tumor)
        parts.append(by_structure.assign(**about, magnification=m))
    return rows, parts


def explain_region_agreement(run: TaskRun) -> dict[str, Any]:
    """Compare prototypes with annotated regions; write the tables and return the summary's entry.

    Of internal cohorts only slides of test patients, each by the model that did not see it; of external ones every
    slide, by each fold's model.
    """
    import pandas as pd

    annotated, slides = AnnotatedSlides(run.chosen["regions"]), run.slides
    features = {str(row["slide_id"]): Path(row["features"]) for row in slides.to_dict("records")}
    known = [slide for slide, path in features.items() if annotated.structures(slide, path) is not None]
    models = [model for model in run.models if run.role(model) in _WITH_PROTOTYPES]
    jobs = [(model, fold) for model in models for fold in run.folds]
    rows: list[dict[str, object]] = []
    parts: list[pd.DataFrame] = []
    reasons: list[str] = []
    chosen = slides[slides["slide_id"].astype(str).isin(known)]
    for model, fold in track(jobs if known else [], len(jobs), f"regions {run.task}", "models"):
        folder = run.results.model(run.task, model, fold)
        if not (folder / DESCRIPTION).is_file():
            reasons.append(f"{model}, fold {fold}: no trained model")
            continue
        network, description, _ = load_model(folder)
        for about in _seen_slides(run, chosen, model, fold):
            slide = about["slide_id"]
            try:
                tiles = loaded_slide_maps(network, description, features[slide]).tiles
            except InputError as error:
                reasons += [f"{model}, fold {fold}: {problem}" for problem in error.problems]
                continue
            structures = annotated.structures(slide, features[slide])
            assert structures is not None
            more_rows, more_parts = score_slide(_with_structures(tiles, structures), about)
            if not more_rows:
                annotated.problems.append(
                    f"slide {slide}: none of its tiles lies on a tumor or TME structure"
                )
            rows += more_rows
            parts += more_parts
    if not models:
        reasons.append("no student among the explained models")
    reasons += _not_annotated(annotated.template, len(known), len(slides))
    names = ["model", "part", "fold", "slide_id", "patient_id", "magnification"]
    by_slide = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*names, "tiles"])
    by_structure = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*names, "side", "structure"])
    )
    resampling = {"seed": run.settings["seed"], "resamples": run.settings["bootstrap"]}
    table = agreement_table(by_slide, by_structure, **resampling)
    for name, one in zip(TABLES["region_agreement"], (table, by_slide), strict=True):
        write_tsv(run.out_dir / name, one)
    return {
        "message": _message(run, table),
        "reasons": list(dict.fromkeys([*reasons, *annotated.problems])),
        "slides": by_slide["slide_id"].nunique(),
    }


def _seen_slides(run: TaskRun, slides: pd.DataFrame, model: str, fold: int) -> Iterator[dict[str, Any]]:
    """Yield what is known of each slide that a fold's model may be judged by: test patients', then external ones."""
    patients = slides["patient_id"].astype(str)
    internal = set(run.split["patient_id"].astype(str))
    for part, chosen in (
        ("test", patients.isin(run.test_patients(fold))),
        ("external", ~patients.isin(internal)),
    ):
        for slide, patient in (
            slides.loc[chosen, ["slide_id", "patient_id"]].astype(str).itertuples(index=False)
        ):
            yield {"model": model, "part": part, "fold": fold, "slide_id": slide, "patient_id": patient}


def _with_structures(tiles: pd.DataFrame, structures: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a model's tiles with the structure and side of each."""
    import pandas as pd

    parts = []
    for m, group in tiles.groupby("magnification", sort=True):
        shown = structures[str(m)].iloc[group["tile"]].set_index(group.index)
        parts.append(pd.concat([group, shown], axis=1))
    return pd.concat(parts)


def _not_annotated(template: str | None, annotated: int, slides: int) -> list[str]:
    """Return what is to be said about slides without annotation."""
    if template is None:
        return ["no region annotations: explanations.regions.annotations is not set"]
    if not annotated:
        return [f"none of {slides} slides has an annotation {template}"]
    lacking = slides - annotated
    return [f"{lacking} of {slides} slides have no (readable) annotation"] if lacking else []


def _message(run: TaskRun, table: pd.DataFrame) -> str:
    rows = table[(table["part"] == "test") & (table["measure"] != "structure") & table["value"].notna()]
    there = sorted(rows["model"].unique(), key=lambda model: _WITH_PROTOTYPES.index(run.role(model)))
    if not there:
        return "Prototypes could not be compared with regions."
    parts = []
    for measure, title in REGION_MEASURES.items():
        own = rows[(rows["model"] == there[0]) & (rows["measure"] == measure)]
        if len(own):
            name = title.replace("Tumor", "tumor")
            parts.append(f"{name} {own['value'].mean():.2f} (by chance {own['chance'].mean():.2f})")
    model = named(there[0]).in_sentence
    return f"Prototypes of the {model} on test slides, mean of the magnifications: {', '.join(parts)}."
