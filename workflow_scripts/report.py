"""The report."""

from pathlib import Path

from pathduet.job import job

with job(snakemake, "report"):
    from pathduet.report.build import build_report

    build_report(Path(snakemake.params.results), snakemake.params.config, Path(snakemake.output.html))
