"""One model of one task on one fold: trained, and what it predicts."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, " ".join(snakemake.wildcards)):
    from pathduet.training.fold_jobs import FoldJob, run_fold

    run_fold(
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
        snakemake.params.settings,
    )
