"""``pathduet heatmap``, ``pathduet view`` and ``pathduet features export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pathduet.core.plural import plural
from pathduet.results import Results
from pathduet.slides.readers.frame import FrameName

Sheet = Annotated[Path | None, typer.Option(help="slides.tsv with the raw slides; default: the run's.")]
Frame = Annotated[
    FrameName | None,
    typer.Option(
        help="Frame of the coordinates: level0, or qupath, which starts at the scanned part of slides that declare bounds. Default for GeoJSON: qupath where the bounds are known, else level0."
    ),
]


def heatmap(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE_ID...", help="Slides of the run, by id.")],
    out: Annotated[
        Path, typer.Option(help="Folder that gets one folder per slide; never the raw slides' own.")
    ],
    results: Annotated[Path, typer.Option("--results", help="A run's results folder.")] = Path("results"),
    task: Annotated[
        str | None,
        typer.Option(help="A task of the run; default: its first survival task, or its first task."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="distilled (the default; student in a run without it), teacher ...")
    ] = None,
    fold: Annotated[
        str, typer.Option(help="A fold's number, or `ensemble`: the mean over all folds.")
    ] = "ensemble",
    png: Annotated[bool, typer.Option(help="heatmap.png.")] = True,
    geojson: Annotated[bool, typer.Option(help="tiles.geojson, for QuPath.")] = True,
    viewer: Annotated[bool, typer.Option(help="Write viewer/index.html, to zoom and pan.")] = True,
    viewer_mpp: Annotated[
        float, typer.Option(min=0.1, help="um per pixel of the viewer's finest picture.")
    ] = 2.0,
    frame: Frame = None,
    sheet: Sheet = None,
) -> None:
    """Draw what a model made of slides: prototypes, merge weights, attention. Exit status 3 if a slide has none."""
    from pathduet.cohort.sheets import read_slides
    from pathduet.cohort.tasks import tasks_of
    from pathduet.core.errors import InputError, PathDuetError, Problem
    from pathduet.explain.targets import heatmap_task
    from pathduet.explain.viewer.slide_heatmaps import PRODUCTS, explain_slide, lost_reason, write_heatmaps

    asked = dict(zip(PRODUCTS, (png, geojson, viewer), strict=True))
    products = [name for name in PRODUCTS if asked[name]]
    config = _configuration(results)
    if task is not None and task not in (known := tasks_of(config)):
        raise InputError.of("--task", f"{task!r} is not a task of the run", f"one of {', '.join(known)}")
    task = task or heatmap_task(config).name
    rows = {
        row.slide_id: row for row in read_slides(sheet or _sheet_of(results, config), features_elsewhere=True)
    }
    if unknown := [slide for slide in slides if slide not in rows]:
        raise InputError(
            [Problem(f"slide {name!r}", "not in the sheet", "name its slide_id") for name in unknown]
        )
    run = Results(results)
    trained = [name for name in ("distilled", "student") if _trained_folds(run, task, name)]
    model = model or next(iter(trained), "student")
    folds = _folds(run, task, model, fold)
    failed = 0
    for slide_id in dict.fromkeys(slides):
        row = rows[slide_id]
        try:
            if reason := lost_reason(run, slide_id):
                raise InputError.of(f"slide {slide_id}", f"lost, {reason}", "see ledger.tsv")
            if row.has_raw and out.resolve() == row.path.resolve().parent:
                raise InputError.of("--out", f"the folder of {row.path.name}", "choose another folder")
            maps = explain_slide(run, slide_id, row.patient_id, task, model, folds)
            thumbnail = run.slide(slide_id) / "thumbnail.png"
            written = write_heatmaps(
                out / slide_id,
                maps,
                thumbnail,
                row.path,
                products=products,
                scene=row.scene,
                viewer_mpp=viewer_mpp,
                frame=frame,
            )
        except PathDuetError as error:
            failed += 1
            typer.echo(f"{slide_id}: {error}", err=True)
            continue
        typer.echo(f"{slide_id}: {', '.join(map(str, written))}")
    raise typer.Exit(3 if failed else 0)


def export_features(
    format: Annotated[
        str,
        typer.Option("--format", help="trident, clam, stamp, anndata, spatialdata or geojson."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files; never the run's own.")],
    results: Annotated[Path, typer.Option("--results", help="A run's results folder.")] = Path("results"),
    magnification: Annotated[
        list[str] | None, typer.Option(help="10x or 20x, repeatable; default: all that a slide has.")
    ] = None,
    slides: Annotated[list[str] | None, typer.Option(help="A slide's id, repeatable; default: all.")] = None,
    model: Annotated[
        str | None, typer.Option(help="distilled, student, teacher ...: also write its maps and predictions.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task of that model; default: as for heatmaps.")] = None,
    frame: Frame = None,
) -> None:
    """Write the tiles of a run's slides in the layout of another tool. Exit status 3 if a slide was lost or cannot be written."""
    from importlib.util import find_spec

    from pathduet.cohort.tasks import tasks_of
    from pathduet.core.errors import InputError
    from pathduet.explain.feature_export import (
        FORMATS,
        WITH_MODEL,
        ExportJob,
        export_model,
        export_slides,
        slides_to_export,
    )
    from pathduet.explain.targets import heatmap_task

    run, own = Results(results), results.resolve()
    if format not in FORMATS:
        raise InputError.of("--format", repr(format), f"one of {', '.join(FORMATS)}")
    if format == "spatialdata" and find_spec("spatialdata") is None:
        advice = "install it: pip install 'pathduet[spatialdata]'"
        raise InputError.of("--format", "the package spatialdata is not installed", advice)
    if out.resolve() == own or own in out.resolve().parents:
        raise InputError.of("--out", f"in the run's own folder {results}", "choose another folder")
    if format not in WITH_MODEL and (model or frame):
        raise InputError.of(
            "--model, --frame", f"{format} has no place for them", f"for {', '.join(WITH_MODEL)}"
        )
    chosen, folds = None, []
    if model:
        config = _configuration(results)
        if task is not None and task not in (known := tasks_of(config)):
            raise InputError.of("--task", f"{task!r} is not a task of the run", f"one of {', '.join(known)}")
        chosen = tasks_of(config)[task] if task else heatmap_task(config)
        folds = _folds(run, chosen.name, model, "ensemble")
    job = ExportJob(
        run,
        out,
        format,
        tuple(magnification or ()),
        chosen,
        model or "",
        tuple(folds),
        frame,
    )
    patients, lost = slides_to_export(run, slides or [])
    failed = {}
    for slide_id, written in export_slides(job, patients):
        if isinstance(written, str):
            failed[slide_id] = written
        else:
            typer.echo(f"{slide_id}: {', '.join(map(str, written))}")
    if model and format == "anndata":
        typer.echo(f"all slides: {export_model(job)}")
    for slide_id, reason in (lost | failed).items():
        typer.echo(f"{slide_id}: {reason}", err=True)
    typer.echo(f"{len(patients) - len(failed)} of {plural(len(patients) + len(lost), 'slide')} in {out}")
    raise typer.Exit(3 if lost or failed else 0)


def _configuration(results: Path) -> dict[str, Any]:
    """Return the configuration of a run."""
    from pathduet.core.provenance import read_run_record

    return dict(read_run_record(Results(results).provenance)["config"])


def _sheet_of(results: Path, config: dict[str, Any]) -> Path:
    """Return a run's slide sheet; its path is relative to the working directory or to the results' parent."""
    from pathduet.core.errors import InputError

    if not config["sheets"]["slides"]:
        raise InputError.of(str(results), "a run without slides", "heatmaps need slides")
    named = Path(config["sheets"]["slides"])
    for candidate in (named, results.resolve().parent / named):
        if candidate.is_file():
            return candidate
    raise InputError.of(str(results), f"its sheet {named} is missing", "give --sheet")


def _trained_folds(run: Results, task: str, model: str) -> list[int]:
    names = (
        path.parent.name.removeprefix("fold-")
        for path in (run.models(task) / model).glob("fold-*/model.json")
    )
    return sorted(int(name) for name in names if name.isdecimal())


def _folds(run: Results, task: str, model: str, fold: str) -> list[int]:
    from pathduet.core.errors import InputError

    known = _trained_folds(run, task, model)
    if not known:
        raise InputError.of(
            f"model {run.models(task) / model}", "not trained", "name a task and model of the run"
        )
    if fold == "ensemble":
        return known
    if not fold.isdecimal() or int(fold) not in known:
        raise InputError.of("--fold", repr(fold), f"one of {known}, or ensemble")
    return [int(fold)]


def view(
    folder: Annotated[Path, typer.Argument(help="A viewer's folder, or a folder that contains several.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Show viewer pages from a local server until Ctrl-C."""
    import webbrowser
    from urllib.parse import quote

    from pathduet.core.checksums import checked
    from pathduet.explain.viewer.serve import door, pages_below, server

    pages = pages_below(folder)
    for page in pages:
        for file in (folder / page).parent.iterdir():
            checked(file)
    running = server(folder, port)
    addresses = [running.address(quote(page)) for page in pages]
    typer.echo(
        "\n".join([*addresses, "The address contains a secret token: do not share it. Press Ctrl-C to stop."])
    )
    try:
        with door(addresses[0]) as page:
            if browser:
                webbrowser.open(page)
            running.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        running.server_close()
