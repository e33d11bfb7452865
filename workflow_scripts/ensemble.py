"""The folds' ensemble of one model on the external cohorts."""

from pathduet.atomic import write_json, write_tsv
from pathduet.job import job

with job(snakemake, f"ensemble {snakemake.wildcards.any_model}"):
    from pathduet.evaluation.evaluate import ensemble_predictions, evaluate_predictions
    from pathduet.evaluation.predictions import read_predictions

    settings = snakemake.params.settings
    merged = ensemble_predictions([read_predictions(path) for path in snakemake.input.predictions])
    metrics = evaluate_predictions(
        merged,
        "survival",
        snakemake.wildcards.any_model,
        "ensemble",
        protocol=settings["protocol"],
        variant=settings["variant"],
        resamples=settings["bootstrap"],
        seed=settings["seed"],
    )
    write_tsv(snakemake.output.predictions, merged)
    write_json(snakemake.output.metrics, metrics)
