"""One model of one task on the training part of one fold."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, " ".join(snakemake.wildcards)):
    from pathduet.training.fold_jobs import FoldJob, train_fold

    train_fold(
        FoldJob(
            snakemake.wildcards.task,
            snakemake.wildcards.model,
            int(snakemake.wildcards.fold),
            results=Path(snakemake.params.results),
            patients=snakemake.input.patients,
            expression=snakemake.input.genes,
            may_fail=snakemake.params.may_fail,
            repair=snakemake.params.repair,
            threads=snakemake.threads,
        ),
        snakemake.params.settings,
        Path(snakemake.output.weights).parent,
    )
