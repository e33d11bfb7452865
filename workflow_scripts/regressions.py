"""The regressions of every task and fold, on covariates and on components: what they predict of test parts and external cohorts."""

from pathduet.workflow.job import job

with job(snakemake, "regressions") as results:
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.sheets import read_patients
    from pathduet.evaluation.regressions import write_regressions
    from pathduet.expression.fold_matrix import read_values

    ledger, genes = read_ledger(snakemake.input.ledger), dict(enumerate(snakemake.input.genes))
    # clinical models predict whom the networks predict: patients with slides, else with expression, else everyone
    only = None
    if len(ledger):
        only = set(ledger.loc[ledger["status"] == "ok", "patient_id"])
    elif genes:
        only = set(read_values(genes[0])[0]["patient_id"])
    write_regressions(
        results,
        read_patients(snakemake.input.patients),
        read_folds(snakemake.input.folds),
        snakemake.params.models,
        snakemake.params.n_folds,
        snakemake.params.settings,
        snakemake.params.external_cohorts,
        only,
        genes,
    )
