"""All stages of one slide up to the artifact that was asked for."""

from pathduet.workflow.job import job

with job(snakemake, f"slide {snakemake.wildcards.slide}") as results:
    from pathduet.cohort.sheets import SlideRow
    from pathduet.slides.batch import make_artifact
    from pathduet.slides.settings import SlideSettings

    make_artifact(
        SlideRow.from_plain(snakemake.params.row),
        snakemake.wildcards.artifact,
        results.root,
        SlideSettings.from_mapping(snakemake.params.settings),
        workers=snakemake.threads,
    )
