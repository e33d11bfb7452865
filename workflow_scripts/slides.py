"""One stage (tile, stain or features) of one batch of slides."""

from pathlib import Path

from pathduet.workflow.job import job
from pathduet.workflow.plan import slides_from_params

with job(snakemake, f"{snakemake.params.stage} {snakemake.wildcards.batch}"):
    from pathduet.slides.batches import run_batch
    from pathduet.slides.settings import SlideSettings

    run_batch(
        slides_from_params(snakemake.params.batch),
        snakemake.params.stage,
        Path(snakemake.params.results),
        SlideSettings.from_mapping(snakemake.params.settings),
        Path(snakemake.output.manifest),
        workers=snakemake.threads,
    )
