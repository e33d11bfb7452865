"""The release folder of one model."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.release.export import export_release

    model = snakemake.wildcards.model
    export_release(results.root, model, results.released(model), replace_all=True)
