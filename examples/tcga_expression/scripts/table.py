"""All folds' predictions as one table and one figure."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "table"):
    from pathduet.transcriptome.runs import read_predictions_of
    from pathduet.transcriptome.summary import write_summary

    settings, folder = snakemake.params.settings, Path(snakemake.output.tsv).parent
    predictions = read_predictions_of(folder, snakemake.params.splits, settings)
    write_summary(predictions, folder, resamples=settings["bootstrap"], seed=settings["seeds"][0])
