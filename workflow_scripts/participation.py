"""Who took part in what: one row a patient."""

from pathduet.core.files import write_tsv
from pathduet.workflow.job import job

with job(snakemake, "participation"):
    from pathduet.cohort.labels import task_labels
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.participation import participation
    from pathduet.cohort.sheets import read_patients
    from pathduet.expression.fold_matrix import load

    patients = read_patients(snakemake.input.patients)
    rule = snakemake.params.labels["cdkn2a_rule"]
    labelled = {}
    for task in snakemake.params.tasks:
        labels = task_labels(patients, task, cdkn2a_rule=rule)
        labelled[task] = labels.index[labels["reason"] == ""]
    table = participation(
        read_ledger(snakemake.input.ledger), patients, load(snakemake.input.genes).patients, labelled
    )
    write_tsv(snakemake.output.participation, table)
