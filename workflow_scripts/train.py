"""Networks of one task on one fold, one after the other: trained, and what they predict."""

from pathduet.workflow.job import job

with job(snakemake, " ".join(snakemake.wildcards)) as results:
    from pathduet.training.fold_jobs import FoldJob, run_fold

    for model, settings in snakemake.params.settings.items():
        run_fold(
            FoldJob(
                snakemake.wildcards.task,
                model,
                int(snakemake.wildcards.fold),
                results=results.root,
                patients=snakemake.input.patients,
                expression=snakemake.input.genes,
                may_fail=settings["may_fail"],
                external=bool(snakemake.output.get("external")),
                threads=snakemake.threads,
            ),
            settings,
        )
