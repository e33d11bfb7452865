"""Every model of one fold, task by task."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, f"fold {snakemake.wildcards.fold}"):
    from expression_models.fold import write_fold

    write_fold(
        Path(snakemake.input.patients).parent,
        snakemake.input.folds,
        int(snakemake.wildcards.fold),
        dict(zip(snakemake.params.tasks, snakemake.output.predictions)),
        cohorts=snakemake.params.cohorts,
        part=snakemake.params.part,
        settings=snakemake.params.settings,
        # networks of repeated cross-validations differ, as their folds do
        split=snakemake.wildcards.get("split", f"seed-{snakemake.params.settings['seeds'][0]}"),
    )
