"""One model of one task on one fold: trained, and what it predicts."""

from pathduet.workflow.job import job

with job(snakemake, " ".join(snakemake.wildcards)) as results:
    from pathduet.training.fold_jobs import FoldJob, run_fold

    run_fold(
        FoldJob(
            snakemake.wildcards.task,
            snakemake.wildcards.model,
            int(snakemake.wildcards.fold),
            results=results.root,
            patients=snakemake.input.patients,
            expression=snakemake.input.genes,
            may_fail=snakemake.params.may_fail,
            external=bool(snakemake.output.get("external")),
            threads=snakemake.threads,
        ),
        snakemake.params.settings,
    )
