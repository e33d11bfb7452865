"""The folds' ensemble of one model on the external cohorts."""

from pathduet.workflow.job import job

with job(snakemake, f"ensemble {snakemake.wildcards.any_model}"):
    from pathduet.evaluation.evaluate import write_ensemble

    write_ensemble(
        snakemake.input.predictions,
        snakemake.output.predictions,
        snakemake.output.metrics,
        snakemake.wildcards.any_model,
        snakemake.params.settings,
    )
