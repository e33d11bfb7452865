"""One result table, over models and folds."""

from pathduet.workflow.job import job

with job(snakemake, f"table {snakemake.params.name}"):
    from pathduet.evaluation.collect import write_task_table

    write_task_table(
        snakemake.params.results,
        snakemake.params.name,
        snakemake.params.models,
        len(snakemake.params.folds),
        snakemake.params.settings,
        snakemake.output.tsv,
        snakemake.output.markdown,
        html=snakemake.output.html,
        figure=snakemake.output.figure,
    )
