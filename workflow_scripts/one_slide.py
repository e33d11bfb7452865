"""All stages of one slide up to the requested artifact."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.cohort.sheets import SlideRow
    from pathduet.slides.batch import make_artifact
    from pathduet.slides.settings import SlideSettings

    given = snakemake.params.settings
    make_artifact(
        SlideRow.from_plain(given["slide"]),
        snakemake.wildcards.artifact,
        results.root,
        SlideSettings.from_mapping(given["sections"]),
        workers=snakemake.threads,
    )
