"""The `pathduet` command: simulate a cohort, check inputs, run the slide engine alone, show run progress."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pathduet import __version__
from pathduet.cohort.cli import app as splits_app
from pathduet.core.errors import PathDuetError, shown
from pathduet.explain import cli as explain_cli
from pathduet.importers.cli import app as import_app
from pathduet.importers.download.cli import app as fetch_app
from pathduet.release import cli as release_cli

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate models on whole-slide images and transcriptomes. `pathduet run` runs the whole pipeline.",
)

app.add_typer(import_app, name="import")
app.add_typer(fetch_app, name="fetch")
app.add_typer(splits_app, name="splits")
app.command("export")(release_cli.export)
app.command("predict")(release_cli.predict)
app.command("heatmap")(explain_cli.heatmap)
app.command("view")(explain_cli.view)

Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--configfile", "--config", "-c", help="As snakemake's: laid over the defaults; repeatable."
    ),
]
ResultsFolder = Annotated[Path, typer.Option("--results", help="Results folder.")]


def _configuration(files: list[Path] | None) -> dict[str, Any]:
    from pathduet.core import config as configuration

    return configuration.read_all(files or [])


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the cohort; created if missing.")],
    design: Annotated[
        Path | None,
        typer.Option(help="YAML with tasks, subspaces and shares (examples/designs); default: gliomas."),
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=12, help="Patients of the internal cohort; 36, or the design's.")
    ] = None,
    external: Annotated[
        int | None, typer.Option(min=0, help="Patients of the external cohort; 12, or the design's.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed gives the same bytes; 1, or the design's."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render slides.")] = 2,
    overwrite: Annotated[bool, typer.Option(help="Replace a cohort made with other parameters.")] = False,
) -> None:
    """Write a simulated cohort with known truth: slides, expression, survival and the latent variables."""
    from pathduet.phantom import simulate as make

    given = {"patients": patients, "external": external, "seed": seed}
    numbers = {key: value for key, value in given.items() if value is not None}
    make(out, workers, overwrite=overwrite, design_file=design, **numbers)
    typer.echo(f"The phantom cohort is in {out} (sheets, slides, expression, truth).")
    if design:
        typer.echo(f"Run it: pathduet run -c {out / 'config.yaml'}")


@app.command()
def init(
    labels: Annotated[
        Path, typer.Option(help="Table with one row per patient or slide (.csv, .tsv, .xlsx).")
    ],
    slides: Annotated[
        Path | None, typer.Option(help="Folder of the whole-slide images, with subfolders.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of TRIDENT, CLAM or STAMP features, named like the slides.")
    ] = None,
    expression: Annotated[Path | None, typer.Option(help="Matrix of genes and samples.")] = None,
    unit: Annotated[
        str, typer.Option(help="Unit of the matrix: counts, tpm, fpkm, log2_tpm or zscore.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for the sheets and the configuration.")] = Path(),
    cohort: Annotated[str, typer.Option(help="Name of the cohort.")] = "cohort",
    id_column: Annotated[
        str, typer.Option(help="Column of patient ids, if it is not found automatically.")
    ] = "",
    force: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
) -> None:
    """Start with a folder of slides or features and a table of labels: write slides.tsv, patients.tsv, config.yaml and a report."""
    from pathduet.workflow.init import init as start

    told = start(
        labels,
        out,
        slides=slides,
        features=features,
        expression=expression,
        unit=unit,
        cohort=cohort,
        id_column=id_column,
        force=force,
    )
    typer.echo(shown(told))


@app.command()
def check(
    config: Config = None,
    slides: Annotated[
        bool, typer.Option(help="Open every slide; --no-slides checks the tables only.")
    ] = True,
    directory: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Working directory of the run, as snakemake's.")
    ] = Path(),
) -> None:
    """Check everything that a run would read: what will be used, what will be skipped, and why.

    Exit status: 0 ready; 2 the input has problems; 3 ready, but some slides will be lost.
    """
    from contextlib import chdir

    from pathduet.workflow.preflight import preflight

    value = _configuration(config)
    with chdir(directory):
        report = preflight(value, open_slides=slides)
    typer.echo(shown(report.text()))
    report.problems.check()
    raise typer.Exit(3 if report.lost_slides else 0)


@app.command()
def run(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="Files or rules to make, all without; after `--`, options for snakemake.",
        ),
    ] = None,
    config: Config = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use; all without.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="How jobs run: slurm, or the folder of your own profile.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would run.")] = False,
) -> None:
    """Run the pipeline in this folder; without a configuration, the demo. Same as `snakemake` in a checkout.

    Exit status: 0 done; 1 failed; 3 done, but some slides were lost.
    """
    from pathduet.workflow.run import run as start

    start(targets or [], configfiles=config or [], cores=cores, profile=profile, dry_run=dry_run)


def _run_stages(last: str, source: Path, results: Path, config: list[Path] | None, workers: int) -> None:
    from pathduet.cohort.ledger import build_ledger, lines
    from pathduet.results import Results
    from pathduet.slides.batch import run_batch
    from pathduet.slides.folder import find_slides
    from pathduet.slides.settings import SlideSettings
    from pathduet.slides.status import stages_to

    settings = SlideSettings.from_mapping(_engine_configuration(config))
    if last == "features":
        from pathduet.slides.encoders.weights import find_weights

        find_weights(settings.encoder)  # fails before hours of tiling
    found = find_slides(source, results)
    found.write(Results(results).files)
    manifest = Results(results).batch(last, "all")
    run_batch(found.slides, stages_to(last), results, settings, manifest, workers)
    ledger = build_ledger(found.slides, [manifest])  # checks that counts add up
    typer.echo(shown("\n".join([*found.lines(), *lines(ledger)])))
    raise typer.Exit(3 if found.lost or (ledger["status"] == "failed").any() else 0)


def _engine_configuration(files: list[Path] | None) -> dict[str, Any]:
    """Return the checked slide sections of the configuration; the engine alone needs no sheets or tables."""
    from pathduet.core import config as configuration

    value = _configuration(files)
    sections = {key: value[key] for key in ("slides", "stain", "encoder", "seed") if key in value}
    no_cohort = {
        "sheets": {"slides": "-", "patients": "-"},
        "cohorts": {"internal": ["-"]},
        "expression": {"tables": [{"cohort": "-", "path": "-", "unit": "counts"}]},
    }
    return configuration.resolve(no_cohort | sections)


Source = Annotated[
    Path, typer.Argument(help="A folder of slides (with subfolders), one slide, or a slides.tsv.")
]
Workers = Annotated[int, typer.Option(min=1, help="Slides processed at a time.")]


@app.command()
def tile(
    source: Source, results: ResultsFolder = Path("results"), config: Config = None, workers: Workers = 1
) -> None:
    """Find tissue and place the 10x and 20x tiles. Exit status 3 if slides were lost."""
    _run_stages("tile", source, results, config, workers)


@app.command()
def stain(
    source: Source, results: ResultsFolder = Path("results"), config: Config = None, workers: Workers = 1
) -> None:
    """Tile, then learn each slide's stain matrix. Exit status 3 if slides were lost."""
    _run_stages("stain", source, results, config, workers)


class _FeaturesGroup(typer.core.TyperGroup):
    """Treat an argument that is not a command of ``pathduet features`` as a source to encode."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["encode", *args]
        return super().parse_args(ctx, args)


features_app = typer.Typer(
    cls=_FeaturesGroup, no_args_is_help=True, help="Tile features: `pathduet features SOURCE` encodes slides."
)
features_app.command("export")(explain_cli.export_features)
app.add_typer(features_app, name="features")


@features_app.command("encode")
def features(
    source: Source, results: ResultsFolder = Path("results"), config: Config = None, workers: Workers = 1
) -> None:
    """Tile, normalise and encode. Exit status 3 if slides were lost."""
    _run_stages("features", source, results, config, workers)


@app.command()
def status(
    results: ResultsFolder = Path("results"),
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare every file with its checksum; exit status 5 if one differs."),
    ] = False,
) -> None:
    """Show how far a run is, from its files. Exit status: 0 complete; 3 complete, but slides were lost; 4 not complete."""
    from pathduet.report.summary import headline, lost_in, recorded_config
    from pathduet.results import Results
    from pathduet.workflow.status import read_progress, status_lines

    steps, run = read_progress(results), Results(results)
    if not steps and not run.ledger.is_file():
        what = "holds no run" if results.is_dir() else "is not there"
        typer.echo(f"{results.resolve()} {what}: start one, or name its results folder with --results.")
        raise typer.Exit(4)
    if verify:
        from pathduet.workflow.verify import verify_results

        found = verify_results(results)
        typer.echo("\n".join(found.lines()))
        raise typer.Exit(5 if found.damaged or found.missing else 0)
    complete = run.report.is_file() and all(s.done >= s.total for s in steps)
    lost = lost_in(results)
    summary = headline(results, recorded_config(results)) if complete or not steps else []
    typer.echo(shown("\n".join([*status_lines(results), *summary])))
    raise typer.Exit((3 if lost else 0) if complete else 4)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
    second: Annotated[Path, typer.Argument(help="Results folder of another run.")],
) -> None:
    """Compare two runs: which settings differ, and by how much each model differs on the same patients."""
    from pathduet.evaluation.compare_runs import compare_runs

    typer.echo(shown("\n".join(compare_runs(first, second))))


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One model, to explain each of its settings.")] = None,
) -> None:
    """List the models of the comparison: what each learns from and predicts from, its settings and its source."""
    from rich.console import Console

    from pathduet.catalogue import find
    from pathduet.catalogue_page import models_table, settings_table

    # Output piped into a file has no terminal width.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(models_table() if name is None else settings_table(find(name)))


@app.command()
def encoders() -> None:
    """List the tile encoders by name: numbers per tile, tiles, licence, and whether packages and weights are on this machine."""
    from rich.console import Console

    from pathduet.slides.encoders.listing import encoders_table

    console = Console() if sys.stdout.isatty() else Console(width=250)
    console.print(encoders_table())


@app.command()
def version() -> None:
    """Print the versions results depend on."""
    from pathduet.core.provenance import git_commit, versions

    typer.echo(f"pathduet {__version__} ({git_commit()})")
    for name, found in versions().items():
        typer.echo(f"  {name} {found}")


def main() -> None:
    """Entry point: a :class:`PathDuetError` gives a message and exit status 2, not a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be valid text
    try:
        app(prog_name="pathduet")
    except PathDuetError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
