"""The regressions of every task and fold, on covariates and on components: predictions for test parts and external cohorts."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.sheets import read_patients
    from pathduet.evaluation.regressions import predicted_by_networks, write_regressions
    from pathduet.features.feature_file import usable_slides

    settings = snakemake.params.settings
    genes = dict(enumerate(snakemake.input.genes))
    write_regressions(
        results,
        read_patients(snakemake.params.files["patients"]),
        read_folds(snakemake.input.folds),
        settings["models"],
        settings["n_folds"],
        settings,
        settings["external_cohorts"],
        predicted_by_networks(read_ledger(snakemake.input.ledger), genes),
        genes,
        usable_slides(results.root),
    )
