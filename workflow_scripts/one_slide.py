"""All stages of one slide up to the artifact that was asked for."""

from pathlib import Path

from pathduet.job import logged
from pathduet.plan import slides_from_params

with logged(snakemake.log[0], f"slide {snakemake.wildcards.slide}", snakemake.threads):
    from pathduet.slides.engine import run_to_artifact
    from pathduet.slides.settings import SlideSettings

    run_to_artifact(
        slides_from_params(snakemake.params.row)[0],
        snakemake.wildcards.artifact,
        Path(snakemake.params.results),
        SlideSettings.from_mapping(snakemake.params.settings),
    )
