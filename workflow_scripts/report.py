"""The report."""

from pathlib import Path

from pathduet.job import logged

with logged(snakemake.log[0], "report", snakemake.threads):
    from pathduet.report.build import build_report

    build_report(Path(snakemake.params.results), snakemake.params.config, Path(snakemake.output.html))
