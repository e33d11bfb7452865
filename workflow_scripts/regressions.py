"""The clinical baselines of every task and fold: what they predict of the test parts and of the external cohorts."""

from pathduet.workflow.job import job

with job(snakemake, "clinical baselines") as results:
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.sheets import read_patients
    from pathduet.evaluation.clinical import write_clinical

    ledger = read_ledger(snakemake.input.ledger)
    write_clinical(
        results,
        read_patients(snakemake.input.patients),
        read_folds(snakemake.input.folds),
        snakemake.params.models,
        snakemake.params.n_folds,
        snakemake.params.settings,
        external_cohorts=snakemake.params.external_cohorts,
        only=set(ledger.loc[ledger["status"] == "ok", "patient_id"]),
    )
