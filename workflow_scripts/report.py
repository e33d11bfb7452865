"""The report."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "report") as results:
    from pathduet.report.build import build_report

    params = snakemake.params
    build_report(results.root, params.config, Path(snakemake.output.html), configfiles=params.configfiles)
