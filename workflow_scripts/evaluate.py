"""Predictions and metrics of one trained model on the test part of its fold, or on the external cohorts."""

from pathlib import Path

from pathduet.job import job

with job(snakemake, " ".join(snakemake.wildcards)):
    from pathduet.learning.workflow import evaluate_fold

    evaluate_fold(
        snakemake.wildcards.task,
        snakemake.wildcards.model,
        int(snakemake.wildcards.fold),
        part=snakemake.params.part,
        results=Path(snakemake.params.results),
        patients=snakemake.input.patients,
        settings=snakemake.params.settings,
        out_dir=Path(snakemake.output.metrics).parent,
        repair=snakemake.params.repair,
        threads=snakemake.threads,
    )
