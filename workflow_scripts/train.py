"""One model of one task on the training part of one fold."""

from pathlib import Path

from pathduet.job import job

label = " ".join(snakemake.wildcards)
with job(snakemake, label):
    from pathduet.learning.workflow import train_fold

    train_fold(
        snakemake.wildcards.task,
        snakemake.wildcards.model,
        int(snakemake.wildcards.fold),
        results=Path(snakemake.params.results),
        patients=snakemake.input.patients,
        settings=snakemake.params.settings,
        out_dir=Path(snakemake.output.weights).parent,
        repair=snakemake.params.repair,
        threads=snakemake.threads,
    )
