"""The clinical baselines of one fold: on its test part, and on the external cohorts."""

from pathduet.workflow.job import job

with job(snakemake, f"clinical fold {snakemake.wildcards.fold}"):
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.sheets import read_patients
    from pathduet.evaluation.clinical import write_clinical_fold

    ledger = read_ledger(snakemake.input.ledger)
    for task, models in snakemake.params.models.items():
        write_clinical_fold(
            read_patients(snakemake.input.patients),
            read_folds(snakemake.input.folds),
            int(snakemake.wildcards.fold),
            models,
            snakemake.params.results,
            snakemake.params.settings,
            task=task,
            external=snakemake.params.external_cohorts,
            only=set(ledger.loc[ledger["status"] == "ok", "patient_id"]),
        )
