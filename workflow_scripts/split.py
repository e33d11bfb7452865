"""Folds by patient."""

from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.cohort.folds import write_folds
    from pathduet.cohort.make_folds import folds_of
    from pathduet.cohort.sheets import read_patients

    write_folds(
        snakemake.output.folds,
        folds_of(read_patients(snakemake.params.files["patients"]), snakemake.params.settings),
    )
