"""Predictions and metrics of one trained model on the test part of its fold, or on the external cohorts."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, " ".join(snakemake.wildcards)):
    from pathduet.training.fold_jobs import FoldJob
    from pathduet.training.fold_metrics import evaluate_fold

    evaluate_fold(
        FoldJob(
            snakemake.wildcards.task,
            snakemake.wildcards.model,
            int(snakemake.wildcards.fold),
            results=Path(snakemake.params.results),
            patients=snakemake.input.patients,
            expression=snakemake.input.genes,
            may_fail=snakemake.params.may_fail,
            threads=snakemake.threads,
        ),
        snakemake.params.part,
        snakemake.params.settings,
        Path(snakemake.output.metrics).parent,
    )
