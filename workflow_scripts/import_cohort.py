"""Converts one cohort's download to the input sheets, like `pathduet import`."""

from pathlib import Path

from pathduet.workflow.job import logged

with logged(snakemake.log[0], snakemake.threads):
    from pathduet.importers.cli import run_entry

    run_entry(
        snakemake.params.entry,
        cohort=snakemake.wildcards.cohort,
        out=Path(snakemake.output.report).parent,
    )
