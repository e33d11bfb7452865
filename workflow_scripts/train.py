"""Trains the networks of one task on one fold, one after the other, and writes their predictions."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.cohort.tasks import Task
    from pathduet.training.dataset import FeatureCache
    from pathduet.training.fold_jobs import FoldJob, run_fold

    cache = FeatureCache()
    for model, settings in snakemake.params.settings.items():
        run_fold(
            FoldJob(
                Task.of(snakemake.wildcards.task, settings["task"]),
                model,
                int(snakemake.wildcards.fold),
                results=results.root,
                patients=snakemake.params.files["patients"],
                expression=snakemake.input.get("genes") or None,
                may_fail=settings["may_fail"],
                external=bool(snakemake.output.get("external")),
                threads=snakemake.threads,
                cache=cache,
            ),
            settings,
        )
