"""`pathduet simulate`: a phantom cohort with known truth, from patients to slide files and counts."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import write_json
from pathduet.core.hardware import keep_freed_memory
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.phantom.appearance import Look, appearance
from pathduet.phantom.artefacts import mark_with_pen, spoil_tissue
from pathduet.phantom.design import Design, Site, design_of, read_design
from pathduet.phantom.expression import draw_activities, draw_counts, draw_genes
from pathduet.phantom.input_files import input_files, write_expression, write_inputs
from pathduet.phantom.layout import MAP_MPP, lay_out, shares
from pathduet.phantom.random_numbers import generator
from pathduet.phantom.slide_file import write_svs
from pathduet.phantom.stain import draw_stain, to_rgb
from pathduet.phantom.textures import Textures, take, textures
from pathduet.phantom.tissue import render
from pathduet.phantom.truth import write_region_map, write_slide_truth, write_truth

if TYPE_CHECKING:
    import pandas as pd


#: Record of what was drawn, and by which code.
_RECORD = "simulation.json"


@dataclass(frozen=True)
class SlidePlan:
    """Everything that a worker needs to render one slide."""

    slide_id: str
    patient_id: str
    site: Site
    side_px: int
    programmes: dict[str, float]
    channels: dict[str, str]
    look: Look
    seed: int
    key: str


def simulate(
    out: Path,
    workers: int = 2,
    *,
    overwrite: bool = False,
    design_file: Path | None = None,
    **numbers: int,
) -> None:
    """Write a phantom cohort with known truth into `out`: :func:`write_tables`, then :func:`draw_slides`.

    The same design gives the same bytes, whatever `workers` is. An interrupted call can be resumed by repeating it.

    Parameters
    ----------
    out : Path
        Output folder; created if missing.
    workers : int
        Processes that render slides; each takes up to about 1 GB.
    overwrite : bool
        Replace a phantom of another design in `out`.
    design_file : Path, optional
        A design in place of the built-in gliomas, see :func:`pathduet.phantom.design.read_design`.
    numbers : int
        As in :class:`pathduet.phantom.design.Design`; they override the design file.

    Raises
    ------
    InputError
        If an argument is out of range, the design file has problems, or `out` holds a phantom of another design, or sheets that this function did not write.
    """
    out = Path(out)
    design = read_design(design_file, **numbers) if design_file else Design(**numbers)
    write_tables(out, design, overwrite=overwrite)
    if design.sheets["slides"]:
        draw_slides(out, workers)


def write_tables(out: Path, design: Design, *, overwrite: bool = False) -> None:
    """Write everything of a phantom except its slides, unless it exists: sheets, counts, and the truth about patients and genes.

    Parameters
    ----------
    out, design, overwrite
        As in :func:`simulate`.

    Raises
    ------
    InputError
        As :func:`simulate`.
    """
    import pandas as pd

    key = _claim(out, design, overwrite)
    if all((out / name).is_file() for name in input_files(design)):
        return
    genes = draw_genes(design.lists, design.subprogrammes, design.anchors, seed=design.seed)
    people, activities = [], []
    for site, cohort in design.cohorts():
        activity = draw_activities(cohort, design.subprogrammes, seed=design.seed)
        if design.expression:
            counts = draw_counts(genes, activity, site.cohort, seed=design.seed, batch_sd=site.batch_sd)
            without = design.without("expression", site, cohort.index)
            write_expression(out / design.table(site), counts.drop(columns=list(without)))
        people.append(cohort)
        activities.append(activity)
    everybody = pd.concat(people)
    truth = everybody[design.truth_columns].join(pd.concat(activities))
    write_truth(out / "truth", truth, genes, design.channels)
    plans = slide_plans(design, key)
    sheet = pd.DataFrame(
        {
            "slide_id": [p.slide_id for p in plans],
            "patient_id": [p.patient_id for p in plans],
            "cohort": [p.site.cohort for p in plans],
            "path": [f"slides/{p.slide_id}.svs" for p in plans],
            "scanner": [p.site.scanner for p in plans],
        }
    )
    write_inputs(out, design, everybody[design.sheet_columns], sheet)


def draw_slides(out: Path, workers: int = 2) -> None:
    """Render the slides of a phantom whose tables are in `out`, and write the truth about them.

    Existing slides of the same design are kept.
    """
    if workers < 1:
        raise InputError([Problem("workers", str(workers), "give at least 1")])
    # Files that a killed run left unfinished.
    for place in (out, out / "slides", out / "truth", *(out / "truth").glob("*/")):
        for leftover in place.glob(".*.tmp*"):
            leftover.unlink()
    found = _record(out)
    plans = slide_plans(design_of(found["design"]), settings_hash(found))
    for pattern in ("slides/*.svs", "truth/slides/*.json", "truth/regions/*.png"):  # of another design
        for path in out.glob(pattern):
            if path.stem not in {plan.slide_id for plan in plans}:
                path.unlink()
    records = dict(track(_rendered(plans, out, workers), len(plans), "simulate", "slides"))
    write_slide_truth(out / "truth", [records[plan.slide_id] for plan in plans])


def render_slide(plan: SlidePlan, out: Path) -> dict[str, Any]:
    """Render one slide and its truth into `out`, unless it exists; return its record.

    The record is written last: if it exists with the plan's key, the slide is complete.
    """
    record_path = out / "truth" / "slides" / f"{plan.slide_id}.json"
    slide_path = out / "slides" / f"{plan.slide_id}.svs"
    map_path = out / "truth" / "regions" / f"{plan.slide_id}.png"
    if record_path.is_file() and slide_path.is_file() and map_path.is_file():
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        if record["key"] == plan.key and record["bytes"] == slide_path.stat().st_size:
            return record

    mpp = plan.site.mpp
    shown = appearance(plan.seed, plan.patient_id, plan.slide_id, plan.programmes, plan.channels, plan.look)
    rng = generator(plan.seed, "slide", plan.slide_id, "pixels")
    side = round(plan.side_px * mpp / MAP_MPP)
    layout = lay_out(side, side, shown.extent, rng)
    noise = textures(plan.seed, mpp)
    haematoxylin, eosin = render(layout, shown.histology, mpp, noise, rng)
    done = spoil_tissue(haematoxylin, eosin, mpp, rng)
    stain = draw_stain(plan.site.laboratory, rng)
    rgb = to_rgb(haematoxylin, eosin, stain, noise, rng)
    done += mark_with_pen(rgb, mpp, rng)

    write_svs(slide_path, rgb, mpp)
    write_region_map(map_path, layout.labels)
    cells = {k: v for k, v in asdict(shown.histology).items() if k != "morphology"}
    record = {
        "key": plan.key,
        "slide_id": plan.slide_id,
        "patient_id": plan.patient_id,
        "cohort": plan.site.cohort,
        "mpp": mpp,
        "side_px": plan.side_px,
        "bytes": slide_path.stat().st_size,
        "programmes": {f"{name}_shown": z for name, z in shown.programmes.items()},
        "shares": shares(layout.labels),
        "cells": asdict(shown.histology.morphology) | cells,
        "artefacts": done,
        "stain": {
            "haematoxylin": stain.matrix[0].tolist(),
            "eosin": stain.matrix[1].tolist(),
            "strength": stain.strength.tolist(),
            "glass": stain.glass.tolist(),
        },
    }
    write_json(record_path, record)
    # Read back from the file, so that a resumed run writes the same tables.
    return dict(json.loads(record_path.read_text(encoding="utf-8")))


def _claim(out: Path, design: Design, overwrite: bool) -> str:
    """Claim `out` for this phantom, or refuse; return the key of the design and the code."""
    from importlib.metadata import version

    wanted = {
        "design": design.to_plain(),
        "sites": [asdict(site) for site in design.sites.values()],
        "package_version": version("pathduet"),
        "code": code_version("pathduet.phantom.cohort"),
    }
    found = _record(out) if (out / _RECORD).is_file() else None
    if found == wanted:
        return settings_hash(wanted)
    written = set(input_files(design))
    if found is None:
        foreign = [name for name in (*sorted(written), "slides", "truth") if (out / name).exists()]
        if foreign:
            advice = "choose an empty folder: these were not written by a simulation"
            raise InputError([Problem(out.name, f"already holds {', '.join(foreign)}", advice)])
    elif not overwrite:
        advice = "choose another folder, the same parameters, or overwrite"
        changed = _differences(found, wanted)
        raise InputError([Problem(_RECORD, f"a phantom of other parameters ({changed})", advice)])
    else:
        written |= set(input_files(design_of(found["design"]))) if "design" in found else set()
    for name in (*written, "truth/slides.tsv"):  # drawing replaces the slides one by one
        (out / name).unlink(missing_ok=True)
    write_json(out / _RECORD, wanted)
    return settings_hash(wanted)


def _record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / _RECORD).read_text(encoding="utf-8")))


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    flat_found, flat_wanted = (record.get("design", {}) | record for record in (found, wanted))
    return ", ".join(
        f"{k}: {flat_found.get(k)} there, {v} wanted" if k not in ("sites", "plan") else k
        for k, v in flat_wanted.items()
        if k != "design" and flat_found.get(k) != v
    )


def slide_plans(design: Design, key: str) -> list[SlidePlan]:
    """Return the plan of each slide, in the order of the sheet."""
    if not design.sheets["slides"]:
        return []
    return [plan for site, people in design.cohorts() for plan in _plan(people, site, design, key)]


def _plan(cohort: pd.DataFrame, site: Site, design: Design, key: str) -> list[SlidePlan]:
    """Return the cohort's slide plans; one patient in five, chosen at random, has two slides."""
    n = len(cohort)
    twice = set(generator(design.seed, "second slides", site.cohort).permutation(n)[: round(n / 5)].tolist())
    without = design.without("slides", site, cohort.index)
    plans = []
    for i, (patient_id, row) in enumerate(cohort.iterrows()):
        if patient_id in without:
            continue
        for k in range(2 if i in twice else 1):
            plans.append(
                SlidePlan(
                    slide_id=f"{patient_id}-{k + 1}",
                    patient_id=str(patient_id),
                    site=site,
                    side_px=round(design.slide_px * 0.5 * site.relative_side / site.mpp),
                    programmes={name: float(row[f"z_{name}"]) for name in design.lists},
                    channels=design.channels,
                    look=design.look(dict(row)),
                    seed=design.seed,
                    key=key,
                )
            )
    return plans


def _rendered(plans: list[SlidePlan], out: Path, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (slide id, record) as slides are finished."""
    if workers == 1 or len(plans) == 1:
        keep_freed_memory()
        for plan in plans:
            yield plan.slide_id, render_slide(plan, out)
        return
    # Fresh processes: a fork of a process that holds torch or BLAS threads can hang.
    context = multiprocessing.get_context("spawn")
    noise = {(plan.seed, plan.site.mpp): textures(plan.seed, plan.site.mpp) for plan in plans}
    with ProcessPoolExecutor(workers, context, _start_worker, (noise,)) as pool:
        waiting = {pool.submit(render_slide, plan, out): plan.slide_id for plan in plans}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(noise: dict[tuple[int, float], Textures]) -> None:
    keep_freed_memory()
    take(noise)
