"""The report."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.report.build import build_report

    settings = snakemake.params.settings
    build_report(
        results.root, settings["config"], Path(snakemake.output.html), configfiles=settings["configfiles"]
    )
