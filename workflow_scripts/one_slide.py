"""All stages of one slide up to the artifact that was asked for."""

from pathlib import Path

from pathduet.workflow.job import job
from pathduet.workflow.plan import slides_from_params

with job(snakemake, f"slide {snakemake.wildcards.slide}"):
    from pathduet.slides.engine import run_to_artifact
    from pathduet.slides.settings import SlideSettings

    run_to_artifact(
        slides_from_params(snakemake.params.row)[0],
        snakemake.wildcards.artifact,
        Path(snakemake.params.results),
        SlideSettings.from_mapping(snakemake.params.settings),
    )
