"""One result table: metrics of its models in every fold, intervals and tests over the folds."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.evaluation.evaluate_table import evaluate_table
    from pathduet.result_tables import ResultTable

    settings = snakemake.params.settings
    evaluate_table(
        results,
        ResultTable(**settings["table"]),
        settings["rows"],
        settings["n_folds"],
        settings,
    )
