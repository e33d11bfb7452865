"""Stages (tile and stain, or features) of one batch of slides."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.cohort.sheets import SlideRow
    from pathduet.slides.batch import run_batch
    from pathduet.slides.settings import SlideSettings

    given = snakemake.params.settings
    run_batch(
        [SlideRow.from_plain(row) for row in given["slides"]],
        given["stages"],
        results.root,
        SlideSettings.from_mapping(given["sections"]),
        Path(snakemake.output.manifest),
        workers=snakemake.threads,
    )
