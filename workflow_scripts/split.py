"""Folds by patient."""

from pathduet.job import logged

with logged(snakemake.log[0], "split"):
    from pathduet.cohort.splits import folds_from_settings, write_folds
    from pathduet.sheets import read_patients

    patients = read_patients(snakemake.input.patients)
    write_folds(folds_from_settings(patients, snakemake.params.settings), snakemake.output.folds)
