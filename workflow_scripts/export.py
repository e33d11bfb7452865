"""The released folder of one model."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, f"export {snakemake.wildcards.model}"):
    from pathduet.release.export import export_release

    export_release(
        Path(snakemake.params.results),
        snakemake.wildcards.model,
        Path(snakemake.output.manifest).parent,
        snakemake.threads,
        replace_all=True,
    )
