"""One cohort's download into the input sheets, as `pathduet import` does it."""

from pathlib import Path

from pathduet.workflow.job import logged

with logged(snakemake.log[0], snakemake.threads):
    from pathduet.importers.cli import run_entry

    run_entry(
        snakemake.params.entry,
        cohort=snakemake.wildcards.cohort,
        out=Path(snakemake.output.report).parent,
    )
