"""`pathduet simulate`: a phantom cohort with known truth, from patients to slide files and counts."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path, write_json, write_tsv
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.phantom.appearance import appearance
from pathduet.phantom.artefacts import mark_with_pen, spoil_tissue
from pathduet.phantom.expression import draw_activities, draw_counts, draw_genes
from pathduet.phantom.latents import simulate_patients
from pathduet.phantom.layout import MAP_MPP, lay_out, shares
from pathduet.phantom.random_numbers import generator
from pathduet.phantom.slide_file import write_svs
from pathduet.phantom.stain import draw_stain, to_rgb
from pathduet.phantom.textures import textures
from pathduet.phantom.tissue import render
from pathduet.phantom.truth import write_region_map, write_slide_truth, write_truth

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Site:
    """How one cohort was made: ids, scanner, pixel size, slide size and expression batch."""

    cohort: str
    prefix: str
    scanner: str
    mpp: float
    relative_side: float
    batch_sd: float


INTERNAL = Site("phantom", "PH", "Phantom AT2", 0.5, 1.0, 0.0)
#: The external cohort: another laboratory's stain, a 40x scanner, smaller pieces, a shift of every gene.
EXTERNAL = Site("phantom_external", "PX", "Phantom GT450", 0.25, 0.875, 0.45)

_PATIENT_COLUMNS = [
    "cohort", "idh", "codel_1p19q", "cdkn2a", "grade", "histology", "age_years", "sex", "survival_days", "event",
]  # fmt: skip
#: What was drawn, by which code.
_RECORD = "simulation.json"
_TABLES = {"phantom": "expression_phantom.tsv.gz", "phantom_external": "expression_external.tsv.gz"}
_WRITTEN = ("slides.tsv", "patients.tsv", *_TABLES.values())


@dataclass(frozen=True)
class SlidePlan:
    """Everything that a worker needs to render one slide."""

    slide_id: str
    patient_id: str
    site: Site
    side_px: int
    z_tumor: float
    z_tme: float
    diagnosis: str
    grade: str
    seed: int
    key: str


@dataclass(frozen=True)
class Design:
    """What a phantom is made from; the defaults are the demo's.

    Attributes
    ----------
    patients, external : int
        Patients of the internal and the external cohort; at least 4, external may be 0. About one in five has two slides.
    seed : int
        Seed of everything, >= 0.
    slide_px : int
        Side of an internal slide in pixels of 0.5 um; a multiple of 128, at least 512. External slides have seven eighths of
        its width in micrometres, at 0.25 um.
    """

    patients: int = 36
    external: int = 12
    seed: int = 1
    slide_px: int = 3584

    def __post_init__(self) -> None:
        problems = []
        if self.patients < 4:
            problems.append(Problem("patients", str(self.patients), "give at least 4, one a diagnosis"))
        if self.external != 0 and self.external < 4:
            problems.append(Problem("external", str(self.external), "give 0, or at least 4, one a diagnosis"))
        if self.seed < 0:
            problems.append(Problem("seed", str(self.seed), "give 0 or more"))
        if self.slide_px < 512 or self.slide_px % 128:
            problems.append(Problem("slide_px", str(self.slide_px), "give a multiple of 128, at least 512"))
        if problems:
            raise InputError(problems)

    def cohorts(self) -> Iterator[tuple[Site, pd.DataFrame]]:
        """Yield each cohort's site and its patients with their latents."""
        for site, n in ((INTERNAL, self.patients), (EXTERNAL, self.external)):
            if n:
                yield site, simulate_patients(n, site.cohort, seed=self.seed, prefix=site.prefix)

    def slides(self, key: str) -> list[SlidePlan]:
        """Return what each slide is rendered from, in the order of the sheet."""
        return [plan for site, people in self.cohorts() for plan in _plan(people, site, self, key)]


def simulate(out: Path, workers: int = 2, *, overwrite: bool = False, **design: int) -> None:
    """Write a phantom cohort with known truth into `out`: :func:`write_tables`, then :func:`draw_slides`.

    The same design gives the same bytes, whatever `workers` is. Stopped and started again, it goes on where it was.

    Parameters
    ----------
    out : Path
        Folder to write to; made if absent.
    workers : int
        Processes that render slides; each takes up to about 1 GB.
    overwrite : bool
        Replace a phantom of another design that is in `out`.
    design : int
        As in :class:`Design`.

    Raises
    ------
    InputError
        If an argument is out of range, or `out` holds a phantom of another design, or sheets that this function did not write.
    """
    out = Path(out)
    write_tables(out, Design(**design), overwrite=overwrite)
    draw_slides(out, workers)


def write_tables(out: Path, design: Design, *, overwrite: bool = False) -> None:
    """Write all of a phantom but its slides, unless it is there already: sheets, counts, and the truth about patients and genes.

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
    wanted = [*_WRITTEN[:2], *(_TABLES[site.cohort] for site, _ in design.cohorts())]
    if all((out / name).is_file() for name in wanted):
        return
    genes = draw_genes(design.seed)
    people, activities = [], []
    for site, cohort in design.cohorts():
        activity = draw_activities(cohort, seed=design.seed)
        counts = draw_counts(genes, activity, site.cohort, seed=design.seed, batch_sd=site.batch_sd)
        _write_gzipped_tsv(out / _TABLES[site.cohort], counts)
        people.append(cohort)
        activities.append(activity)
    everybody = pd.concat(people)
    write_truth(out / "truth", everybody, pd.concat(activities), genes)
    write_tsv(out / "patients.tsv", everybody[_PATIENT_COLUMNS], index=True)
    plans = design.slides(key)
    sheet = pd.DataFrame(
        {
            "slide_id": [p.slide_id for p in plans],
            "patient_id": [p.patient_id for p in plans],
            "cohort": [p.site.cohort for p in plans],
            "path": [f"slides/{p.slide_id}.svs" for p in plans],
            "scanner": [p.site.scanner for p in plans],
        }
    )
    write_tsv(out / "slides.tsv", sheet)  # last: where it is, the tables are whole


def draw_slides(out: Path, workers: int = 2) -> None:
    """Render the slides of a phantom whose tables are in `out`, and write the truth about them.

    Slides of the same design that are there already are kept.
    """
    if workers < 1:
        raise InputError([Problem("workers", str(workers), "give at least 1")])
    # What a killed run was writing when it died.
    for place in (out, out / "slides", out / "truth", *(out / "truth").glob("*/")):
        for leftover in place.glob(".*.tmp*"):
            leftover.unlink()
    found = _record(out)
    design = Design(**{name: found["parameters"][name] for name in Design.__dataclass_fields__})
    plans = design.slides(settings_hash(found))
    for pattern in ("slides/*.svs", "truth/slides/*.json", "truth/regions/*.png"):  # of another design
        for path in out.glob(pattern):
            if path.stem not in {plan.slide_id for plan in plans}:
                path.unlink()
    records = dict(track(_rendered(plans, out, workers), len(plans), "simulate", "slides"))
    write_slide_truth(out / "truth", [records[plan.slide_id] for plan in plans])


def render_slide(plan: SlidePlan, out: Path) -> dict[str, Any]:
    """Render one slide and its truth into `out`, unless it is there already; return its record.

    The record is written last: where it is, and carries the plan's key, the slide is whole.
    """
    record_path = out / "truth" / "slides" / f"{plan.slide_id}.json"
    slide_path = out / "slides" / f"{plan.slide_id}.svs"
    map_path = out / "truth" / "regions" / f"{plan.slide_id}.png"
    if record_path.is_file() and slide_path.is_file() and map_path.is_file():
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        if record["key"] == plan.key and record["bytes"] == slide_path.stat().st_size:
            return record

    mpp = plan.site.mpp
    look = appearance(
        plan.seed, plan.patient_id, plan.slide_id, plan.z_tumor, plan.z_tme, plan.diagnosis, plan.grade
    )
    rng = generator(plan.seed, "slide", plan.slide_id, "pixels")
    side = round(plan.side_px * mpp / MAP_MPP)
    layout = lay_out(side, side, look.extent, rng)
    noise = textures(plan.seed, mpp)
    haematoxylin, eosin = render(layout, look.histology, mpp, noise, rng)
    done = spoil_tissue(haematoxylin, eosin, mpp, rng)
    stain = draw_stain(plan.site.cohort, rng)
    rgb = to_rgb(haematoxylin, eosin, stain, noise, rng)
    done += mark_with_pen(rgb, mpp, rng)

    write_svs(slide_path, rgb, mpp)
    write_region_map(map_path, layout.labels)
    cells = {k: v for k, v in asdict(look.histology).items() if k != "morphology"}
    record = {
        "key": plan.key,
        "slide_id": plan.slide_id,
        "patient_id": plan.patient_id,
        "cohort": plan.site.cohort,
        "mpp": mpp,
        "side_px": plan.side_px,
        "bytes": slide_path.stat().st_size,
        "programmes": {"tumor_shown": look.tumor, "tme_shown": look.tme},
        "shares": shares(layout.labels),
        "cells": asdict(look.histology.morphology) | cells,
        "artefacts": done,
        "stain": {
            "haematoxylin": stain.matrix[0].tolist(),
            "eosin": stain.matrix[1].tolist(),
            "strength": stain.strength.tolist(),
            "glass": stain.glass.tolist(),
        },
    }
    write_json(record_path, record)
    # As it reads back, so that a resumed run puts together the same tables.
    return dict(json.loads(record_path.read_text(encoding="utf-8")))


def _claim(out: Path, design: Design, overwrite: bool) -> str:
    """Make `out` this phantom's, or refuse; return the key of the design and the code."""
    from importlib.metadata import version

    wanted = {
        "parameters": asdict(design) | {"sites": [asdict(INTERNAL), asdict(EXTERNAL)]},
        "package_version": version("pathduet"),
        "code": code_version("pathduet.phantom.cohort"),
    }
    found = _record(out) if (out / _RECORD).is_file() else None
    if found == wanted:
        return settings_hash(wanted)
    if found is None:
        foreign = [name for name in (*_WRITTEN, "slides", "truth") if (out / name).exists()]
        if foreign:
            advice = "choose an empty folder: these were not written by a simulation"
            raise InputError([Problem(out.name, f"already holds {', '.join(foreign)}", advice)])
    elif not overwrite:
        advice = "choose another folder, the same parameters, or overwrite"
        changed = _differences(found, wanted)
        raise InputError([Problem(_RECORD, f"a phantom of other parameters ({changed})", advice)])
    for name in (*_WRITTEN, "truth/slides.tsv"):  # drawing replaces the slides one by one
        (out / name).unlink(missing_ok=True)
    write_json(out / _RECORD, wanted)
    return settings_hash(wanted)


def _record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / _RECORD).read_text(encoding="utf-8")))


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    flat_found = found.get("parameters", {}) | {k: found.get(k) for k in ("package_version", "code")}
    flat_wanted = wanted["parameters"] | {k: wanted[k] for k in ("package_version", "code")}
    return ", ".join(
        f"{k}: {flat_found.get(k)} there, {v} wanted" if k != "sites" else "sites"
        for k, v in flat_wanted.items()
        if flat_found.get(k) != v
    )


def _plan(cohort: pd.DataFrame, site: Site, design: Design, key: str) -> list[SlidePlan]:
    """Return the cohort's slides; one patient in five, chosen at random, has two."""
    n = len(cohort)
    twice = set(generator(design.seed, "second slides", site.cohort).permutation(n)[: round(n / 5)].tolist())
    plans = []
    for i, (patient_id, row) in enumerate(cohort.iterrows()):
        for k in range(2 if i in twice else 1):
            plans.append(
                SlidePlan(
                    slide_id=f"{patient_id}-{k + 1}",
                    patient_id=str(patient_id),
                    site=site,
                    side_px=round(design.slide_px * 0.5 * site.relative_side / site.mpp),
                    z_tumor=float(row["z_tumor"]),
                    z_tme=float(row["z_tme"]),
                    diagnosis=str(row["diagnosis"]),
                    grade=str(row["grade"]),
                    seed=design.seed,
                    key=key,
                )
            )
    return plans


def _rendered(plans: list[SlidePlan], out: Path, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (slide id, record) as slides get done."""
    if workers == 1 or len(plans) == 1:
        for plan in plans:
            yield plan.slide_id, render_slide(plan, out)
        return
    # Fresh processes: a fork of a process that holds torch or BLAS threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(render_slide, plan, out): plan.slide_id for plan in plans}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_gzipped_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as gzipped TSV, atomically and without a time stamp or a file name inside."""
    text = table.to_csv(sep="\t", lineterminator="\n").encode()
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(text)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
