"""Agreement of a student's prototypes with the annotated structures they are named after: Dice and recall.

The student divides each slide's tiles into one prototype per subspace; an annotation gives the structure of each tile,
and the configuration the structures of each subspace. For the annotated tiles of a slide and magnification, with
T = tiles of a subspace's structures and P = tiles of its prototype:

- Dice = 2 |T and P| / (|T| + |P|), recall = |T and P| / |T|; the paper's measures are Dice and recall of the tumor, and
  as "accuracy" of the TME the recall of the TME;
- by structure: share of its tiles in its own prototype.

Slides are averaged by patient, patients are resampled for the interval. Each number is reported with that of a
random division of the same size, since a prototype that covers the whole slide has a recall of 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.catalogue import named
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_tsv
from pathduet.core.plural import plural
from pathduet.core.progress import track
from pathduet.evaluation.bootstrap import interval, patient_counts
from pathduet.explain.annotated_slides import AnnotatedSlides
from pathduet.explain.files import REGION_MEASURES, TABLES
from pathduet.explain.fold_results import TaskRun
from pathduet.explain.tile_maps import loaded_slide_maps
from pathduet.explain.words import subspace_word
from pathduet.results import DESCRIPTION
from pathduet.training.model_folder import load_model

if TYPE_CHECKING:
    import pandas as pd

#: Roles of the models that divide a slide into prototypes, in the order of preference.
WITH_PROTOTYPES = ("distilled", "student")


def slide_scores(tiles: pd.DataFrame, subspace: str) -> dict[str, float | int]:
    """Return a subspace's Dice and recall on one slide and magnification, and those of chance; NaN where undefined.

    Parameters
    ----------
    tiles : DataFrame
        `prototype` and `subspace` of each tile; tiles whose structure belongs to no subspace are not counted.
    subspace : str
    """
    counted = tiles["subspace"].to_numpy() != ""
    inside = tiles["subspace"].to_numpy()[counted] == subspace
    called = tiles["prototype"].to_numpy()[counted] == subspace
    n, n_inside, n_called = len(inside), int(inside.sum()), int(called.sum())

    def ratio(a: float, b: float) -> float:
        return a / b if b and n_inside else float("nan")

    hit, share = int((inside & called).sum()), ratio(n_called, n)
    return {
        "tiles": n,
        "subspace_tiles": n_inside,
        "dice": ratio(2 * hit, n_inside + n_called),
        "recall": ratio(hit, n_inside),
        # expected value if the prototype's tiles were random among the annotated ones
        "dice_chance": ratio(2 * n_inside * share, n_inside + n_called),
        "recall_chance": share,
    }


def structure_scores(tiles: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, by structure, its tiles, their share in its own prototype, and that prototype's share of all tiles."""
    subspace = tiles["subspace"].to_numpy()
    counted = subspace != ""
    prototype, structure = (tiles[name].to_numpy()[counted] for name in ("prototype", "structure"))
    subspace = subspace[counted]
    rows = []
    for own, name in sorted(set(zip(subspace, structure))):
        inside = (subspace == own) & (structure == name)
        accuracy, chance = float((prototype[inside] == own).mean()), float((prototype == own).mean())
        rows.append(
            {"structure": name, "subspace": own, "tiles": int(inside.sum()), "accuracy": accuracy, "chance": chance}
        )  # fmt: skip
    return rows


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
        One row per slide, model, fold, magnification and subspace: model, part, magnification, subspace, patient_id,
        and :func:`slide_scores`.
    structures : DataFrame
        The same with :func:`structure_scores`.

    Returns
    -------
    DataFrame
        model, part (``test`` or ``external``), magnification, measure (``dice``, ``recall``, or ``structure``),
        structure, subspace, value, ci_low, ci_high, chance, patients, tiles.
    """
    import pandas as pd

    rows = []

    def add(key: Any, measure: str, structure: Any, subspace: Any, group: pd.DataFrame) -> None:
        column, tiles = ("accuracy", "tiles") if structure else (measure, "subspace_tiles")
        value, low, high, n = patient_mean(group, column, seed, resamples)
        chance = patient_mean(group, "chance" if structure else f"{measure}_chance", seed, 0)[0]
        total = int(group[tiles].sum())
        rows.append([*key, measure, structure, subspace, value, low, high, chance, n, total])

    by = ["model", "part", "magnification"]
    for key, group in slides.groupby(by, sort=False):
        for subspace, one in group.groupby("subspace", sort=False):
            for measure in REGION_MEASURES:
                add(key, measure, "", str(subspace), one)
        own = structures[(structures[by] == list(key)).all(axis=1)]
        for place, tiles in own.groupby(["subspace", "structure"], sort=True):
            add(key, "structure", place[1], place[0], tiles)  # type: ignore[index]
    names = [
        *by, "measure", "structure", "subspace", "value", "ci_low", "ci_high", "chance", "patients", "tiles",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def score_slide(
    tiles: pd.DataFrame, about: Mapping[str, Any], subspaces: Iterable[str]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return rows for :func:`agreement_table` of one annotated slide: (slides, structures).

    Parameters
    ----------
    tiles : DataFrame
        `magnification`, `prototype`, `structure` and `subspace` of each tile.
    about : mapping
        model, part, fold, slide_id, patient_id.
    subspaces : iterable of str
    """
    rows: list[dict[str, object]] = []
    parts: list[dict[str, object]] = []
    for m, group in tiles.groupby("magnification", sort=True):
        if (group["subspace"] == "").all():
            continue
        named_by = {**about, "magnification": m}
        rows += [{**named_by, "subspace": name, **slide_scores(group, name)} for name in subspaces]
        parts += [{**one, **named_by} for one in structure_scores(group)]
    return rows, parts


def explain_region_agreement(run: TaskRun) -> dict[str, Any]:
    """Compare prototypes with annotated regions; write the tables and return the summary's entry.

    For internal cohorts only slides of test patients, each by the model trained without it; for external ones
    every slide, by each fold's model.
    """
    import pandas as pd

    annotated, slides = AnnotatedSlides(run.chosen["regions"]), run.slides
    features = {str(row["slide_id"]): Path(row["features"]) for row in slides.to_dict("records")}
    known = [slide for slide, path in features.items() if annotated.structures(slide, path) is not None]
    models = [model for model in run.models if run.role(model) in WITH_PROTOTYPES]
    jobs = [(model, fold) for model in models for fold in run.folds]
    rows: list[dict[str, object]] = []
    parts: list[dict[str, object]] = []
    reasons: list[str] = []
    chosen = slides[slides["slide_id"].astype(str).isin(known)]
    for model, fold in track(jobs if known else [], len(jobs), f"regions {run.task.name}", "models"):
        folder = run.results.model(run.task.name, model, fold)
        if not checked(folder / DESCRIPTION).is_file():
            reasons.append(f"{model}, fold {fold}: no trained model")
            continue
        network, description, _ = load_model(folder)
        for about in _seen_slides(run, chosen, model, fold):
            slide = about["slide_id"]
            try:
                maps = loaded_slide_maps(network, description, features[slide], attention=False)
            except InputError as error:
                raise_machine_fault(error, f"slide {slide}")
                reasons += [f"{model}, fold {fold}: {problem}" for problem in error.problems]
                continue
            structures = annotated.structures(slide, features[slide])
            assert structures is not None
            more_rows, more_parts = score_slide(
                _with_structures(maps.tiles, structures), about, run.subspaces
            )
            if not more_rows:
                annotated.problems.append(
                    f"slide {slide}: none of its tiles lies on a structure of a subspace"
                )
            rows += more_rows
            parts += more_parts
    if not models:
        reasons.append("no student among the explained models")
    reasons += _not_annotated(annotated.template, len(known), len(slides))
    names = ["model", "part", "fold", "slide_id", "patient_id", "magnification", "subspace"]
    by_slide = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*names, "tiles"])
    by_structure = pd.DataFrame(parts) if parts else pd.DataFrame(columns=[*names, "structure"])
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
    """Yield the keys of each slide on which a fold's model may be tested: test patients', then external."""
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
    """Return a model's tiles with the structure and subspace of each."""
    import pandas as pd

    parts = []
    for m, group in tiles.groupby("magnification", sort=True):
        shown = structures[str(m)].iloc[group["tile"]].set_index(group.index)
        parts.append(pd.concat([group, shown], axis=1))
    return pd.concat(parts)


def _not_annotated(template: str | None, annotated: int, slides: int) -> list[str]:
    """Return messages about slides without annotation."""
    if template is None:
        return ["no region annotations: explanations.regions.annotations is not set"]
    if not annotated:
        return [f"no annotation {template} for any of {plural(slides, 'slide')}"]
    lacking = slides - annotated
    return [f"no readable annotation for {lacking} of {plural(slides, 'slide')}"] if lacking else []


def _message(run: TaskRun, table: pd.DataFrame) -> str:
    rows = table[(table["part"] == "test") & (table["measure"] != "structure") & table["value"].notna()]
    there = sorted(rows["model"].unique(), key=lambda model: WITH_PROTOTYPES.index(run.role(model)))
    if not there:
        return "Prototypes could not be compared with regions."
    parts = []
    for subspace in run.subspaces:
        for measure, title in REGION_MEASURES.items():
            own = rows[
                (rows["model"] == there[0]) & (rows["measure"] == measure) & (rows["subspace"] == subspace)
            ]
            if len(own):
                name = f"{subspace_word(subspace)} {title if measure == 'dice' else title.lower()}"
                parts.append(f"{name} {own['value'].mean():.2f} (by chance {own['chance'].mean():.2f})")
    model = named(there[0], run.catalogue).in_sentence
    return f"Prototypes of the {model} on test slides, mean of the magnifications: {', '.join(parts)}."
