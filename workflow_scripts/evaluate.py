"""One result table: metrics of its models in every fold, intervals and tests over the folds."""

from pathduet.workflow.job import job

with job(snakemake, f"table {snakemake.params.table['name']}") as results:
    from pathduet.evaluation.evaluate_table import evaluate_table
    from pathduet.result_tables import ResultTable

    evaluate_table(
        results,
        ResultTable(**snakemake.params.table),
        snakemake.params.rows,
        snakemake.params.n_folds,
        snakemake.params.settings,
    )
