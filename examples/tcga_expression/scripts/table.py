"""All folds' predictions as one table and one figure."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "table"):
    from expression_models.summary import read_predictions_of, write_summary

    settings, folder = snakemake.params.settings, Path(snakemake.output.tsv).parent
    predictions = read_predictions_of(folder, snakemake.params.splits, settings)
    write_summary(predictions, folder, resamples=settings["bootstrap"], seed=settings["seeds"][0])
