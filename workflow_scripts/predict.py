"""Predictions of the slides of `predict.slides`, as `pathduet predict` makes them."""

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
