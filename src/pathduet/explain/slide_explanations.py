"""The explanations that need the networks themselves: prototypes against regions, and gene attention, over a task's folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.cohort.folds import read_folds
from pathduet.core.errors import InputError
from pathduet.core.files import write_tsv
from pathduet.core.progress import track
from pathduet.evaluation.model_facts import called
from pathduet.explain import gene_attention
from pathduet.explain.annotations import Annotation, read_annotation, read_legend
from pathduet.explain.fold_results import patients_of_test_part
from pathduet.explain.region_agreement import agreement_table, annotate, score_slide
from pathduet.explain.tile_maps import loaded_slide_maps, read_grids
from pathduet.training.fold_jobs import usable_slides
from pathduet.training.model_folder import DESCRIPTION, load_model

if TYPE_CHECKING:
    import pandas as pd

#: Models that divide a slide into prototypes.
_WITH_PROTOTYPES = ("distilled", "student")
_FOLDER = "models"


class Regions:
    """Annotations of slides, read when first asked for.

    Parameters
    ----------
    settings : mapping
        ``annotations`` (path with ``{slide_id}``, or None), ``legend``, ``tumor``, ``tme``.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.template: str | None = settings["annotations"]
        self.tumor, self.tme = list(settings["tumor"]), list(settings["tme"])
        self._legend_path = Path(settings["legend"]) if settings["legend"] else None
        self._legend: dict[str, Any] | None = None
        self._read: dict[str, Annotation | None] = {}
        self._tiles: dict[str, dict[str, pd.DataFrame] | None] = {}
        self.problems: list[str] = []

    def of(self, slide_id: str, features: Path) -> Annotation | None:
        """Return a slide's annotation, None if it has none or a broken one (see `problems`)."""
        if slide_id in self._read:
            return self._read[slide_id]
        self._read[slide_id] = None
        path = Path(self.template.replace("{slide_id}", slide_id)) if self.template else None
        if path is None or not path.is_file():
            return None
        try:
            if self._legend is None:
                self._legend = read_legend(self._legend_path)
            facts = read_grids(features)[1]
            if not facts["width"]:
                self.problems.append(
                    f"slide {slide_id}: no tiles.h5 beside its features says how large it is"
                )
                return None
            size = (facts["width"], facts["height"])
            self._read[slide_id] = read_annotation(slide_id, path, size, facts["mpp"], self._legend)
        except InputError as error:
            self.problems += [str(problem) for problem in error.problems]
        return self._read[slide_id]

    def structures(self, slide_id: str, features: Path) -> dict[str, pd.DataFrame] | None:
        """Return `structure` and `side` of every tile of a slide by magnification, None without annotation."""
        import pandas as pd

        if slide_id not in self._tiles:
            annotation = self.of(slide_id, features)
            named = {}
            for m, grid in read_grids(features)[0].items() if annotation is not None else ():
                assert annotation is not None
                tiles = pd.DataFrame(grid.grid * (grid.width0, grid.height0), columns=["x", "y"])
                tiles = tiles.assign(size=grid.width0, size_y=grid.height0)
                named[m] = annotate(tiles, annotation, self.tumor, self.tme)[["structure", "side"]]
            self._tiles[slide_id] = named or None
        return self._tiles[slide_id]

    def sides(self, slide_id: str, features: Path, magnification: str) -> np.ndarray | None:
        """Return 1 (tumor), 0 (TME) or NaN (neither) of every tile of a slide, None without annotation."""
        named = self.structures(slide_id, features)
        if named is None:
            return None
        return named[magnification]["side"].map({"tumor": 1.0, "tme": 0.0}).to_numpy(dtype=float)


def _test_slides(slides: pd.DataFrame, folds: pd.DataFrame, fold: int) -> pd.DataFrame:
    return slides[slides["patient_id"].astype(str).isin(patients_of_test_part(folds, fold))]


def region_parts(
    task: str,
    results: Path,
    settings: Mapping[str, Any],
    out_dir: Path,
    repair: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare prototypes with annotated regions; write ``region_agreement.tsv`` and return the summary's entry.

    Of internal cohorts only slides of test patients, each by the model that did not see it; of external ones every
    slide, by each fold's model.
    """
    import pandas as pd

    regions = Regions(settings["explanations"]["regions"])
    slides, folds = usable_slides(results), read_folds(results / "split" / "folds.tsv")
    internal = set(folds["patient_id"].astype(str))
    rows: list[dict[str, object]] = []
    parts: list[pd.DataFrame] = []
    reasons: list[str] = []
    wanted = [m for m in settings["models"] if m.startswith(_WITH_PROTOTYPES)]
    seen: set[str] = set()
    jobs = [(model, fold) for model in wanted for fold in range(settings["folds"])]
    annotated = {
        str(row["slide_id"])
        for row in slides.to_dict("records")
        if regions.of(str(row["slide_id"]), Path(row["features"])) is not None
    }
    for model, fold in track(jobs if annotated else [], len(jobs), f"regions {task}", "models"):
        folder = results / _FOLDER / task / model / f"fold-{fold}"
        if not (folder / DESCRIPTION).is_file():
            reasons.append(f"{model}, fold {fold}: no trained model")
            continue
        network, description, _ = load_model(folder)
        external = slides[~slides["patient_id"].astype(str).isin(internal)]
        for part, chosen in (("test", _test_slides(slides, folds, fold)), ("external", external)):
            for row in chosen.to_dict("records"):
                slide, features = str(row["slide_id"]), Path(row["features"])
                structures_of = regions.structures(slide, features)
                if structures_of is None:
                    continue
                try:
                    tiles = loaded_slide_maps(network, description, features).tiles
                except InputError as error:
                    reasons += [f"{model}, fold {fold}: {problem}" for problem in error.problems]
                    continue
                named: list[pd.DataFrame] = []
                for m, group in tiles.groupby("magnification", sort=True):
                    sides = structures_of[str(m)].iloc[group["tile"]]
                    named.append(
                        group.assign(structure=sides["structure"].to_numpy(), side=sides["side"].to_numpy())
                    )
                facts = {"model": model, "part": part, "fold": fold, "slide_id": slide,
                         "patient_id": str(row["patient_id"])}  # fmt: skip
                more_rows, more_parts = score_slide(pd.concat(named), facts)
                if not more_rows:
                    regions.problems.append(
                        f"slide {slide}: none of its tiles lies on a tumor or TME structure"
                    )
                rows += more_rows
                parts += more_parts
                seen.add(slide)
    if not wanted:
        reasons.append("no student among the explained models")
    if regions.template is None:
        reasons.append("no region annotations: explanations.regions.annotations is not set")
    elif not annotated:
        reasons.append(f"none of {len(slides)} slides has an annotation {regions.template}")
    elif len(annotated) < len(slides):
        reasons.append(
            f"{len(slides) - len(annotated)} of {len(slides)} slides have no (readable) annotation"
        )
    reasons = list(dict.fromkeys([*reasons, *regions.problems]))
    names = ["model", "part", "fold", "slide_id", "patient_id", "magnification"]
    by_slide = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*names, "tiles"])
    structures = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*names, "side", "structure"])
    )
    table = agreement_table(by_slide, structures, seed=settings["seed"], resamples=settings["bootstrap"])
    write_tsv(out_dir / "region_agreement.tsv", table)
    write_tsv(out_dir / "region_agreement_slides.tsv", by_slide)
    return {"message": _region_message(table), "reasons": reasons, "slides": len(seen)}


def _region_message(table: pd.DataFrame) -> str:
    rows = table[(table["part"] == "test") & (table["measure"] != "structure") & table["value"].notna()]
    model = next((m for m in ("distilled", *rows["model"]) if m in set(rows["model"])), None)
    if model is None:
        return "Prototypes could not be compared with regions."
    parts = []
    for measure, name in (
        ("dice", "tumor Dice"),
        ("recall", "tumor recall"),
        ("tme_accuracy", "TME accuracy"),
    ):
        own = rows[(rows["model"] == model) & (rows["measure"] == measure)]
        if len(own):
            parts.append(f"{name} {own['value'].mean():.2f} (by chance {own['chance'].mean():.2f})")
    return (
        f"Prototypes of the {called(model)} on test slides, mean of the magnifications: {', '.join(parts)}."
    )


def attention_parts(
    task: str,
    results: Path,
    settings: Mapping[str, Any],
    out_dir: Path,
    repair: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Look at the teacher's gene attention; write ``gene_attention.tsv`` and ``gene_attention_sets.tsv``."""
    from pathduet.expression.fold_matrix import load
    from pathduet.models.baselines.gene_groups import read_gene_groups, shipped_groups

    regions = Regions(settings["explanations"]["regions"])
    slides, folds = usable_slides(results), read_folds(results / "split" / "folds.tsv")
    paths = {str(row["slide_id"]): Path(row["features"]) for row in slides.to_dict("records")}
    found, reasons = {}, []
    for fold in range(settings["folds"]):
        folder = results / _FOLDER / task / "teacher" / f"fold-{fold}"
        try:
            found[fold] = gene_attention.fold_gene_attention(
                folder,
                _test_slides(slides, folds, fold),
                load(results / "genes" / f"fold-{fold}.h5ad"),
                lambda slide, m: regions.sides(slide, paths[slide], m),
            )
        except InputError as error:
            reasons += [f"fold {fold}: {problem}" for problem in error.problems]
    table = gene_attention.attention_table(found)
    given = settings["explanations"]["gene_sets"]
    sets = gene_attention.gene_set_table(
        table, shipped_groups() if given == "shipped" else read_gene_groups(given)
    )
    write_tsv(out_dir / "gene_attention.tsv", table)
    write_tsv(out_dir / "gene_attention_sets.tsv", sets)
    message = "No gene attention could be computed."
    if len(table) and table["agreement"].isna().all():
        message = "One magnification only: nothing to agree with."
    elif len(table):
        means = table[["similarity", "agreement"]].mean()
        message = (
            f"The same gene at 10x and 20x: attention agrees with r {round(means['agreement'], 2) + 0.0:.2f}, similarity "
            f"{means['similarity']:.2f} (1 = unrelated), mean of {len(table)} genes."
        )
    if len(table) and table[["tumor_gain_10x", "tumor_gain_20x"]].isna().all(axis=None):
        reasons.append("no annotated test slide: where genes look cannot be told by structure")
    return {"message": message, "reasons": list(dict.fromkeys([*reasons, *regions.problems]))}
