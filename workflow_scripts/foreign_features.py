"""Features from another tool for a batch of slides: checked and linked."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.cohort.sheets import SlideRow
    from pathduet.slides.foreign_features import ForeignSettings, take_batch

    given = snakemake.params.settings
    take_batch(
        [SlideRow.from_plain(row) for row in given["slides"]],
        results.root,
        ForeignSettings(**given["reading"]),
        Path(snakemake.output.manifest),
    )
