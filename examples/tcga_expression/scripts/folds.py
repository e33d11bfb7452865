"""Folds of TCGA: made from the split's seed, or the published ones."""

from pathduet.workflow.job import job

with job(snakemake, f"folds {snakemake.wildcards.split}"):
    from expression_models.public_gliomas import folds_of_split

    from pathduet.cohort.folds import write_folds
    from pathduet.cohort.sheets import read_patients

    folds = folds_of_split(
        read_patients(snakemake.input.patients),
        snakemake.wildcards.split,
        folds=snakemake.params.folds,
        published=snakemake.params.published,
    )
    write_folds(snakemake.output.folds, folds)
