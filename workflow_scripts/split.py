"""Folds by patient."""

from pathduet.job import job

with job(snakemake, "split"):
    from pathduet.cohort.protocol import folds_of
    from pathduet.cohort.splits import write_folds
    from pathduet.sheets import read_patients

    write_folds(
        snakemake.output.folds, folds_of(read_patients(snakemake.input.patients), snakemake.params.settings)
    )
