"""Predictions for the slides of `predict.slides`, like those of `pathduet predict`."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.release.new_slides import predict_configured

    predict_configured(
        snakemake.params.settings["predict"],
        Path(snakemake.input.manifest).parent,
        Path(snakemake.output.predictions).parent,
        snakemake.params.settings["encoder"],
        snakemake.threads,
        snakemake.params.settings["frame"],
    )
