"""Who took part in what: one row a patient."""

from pathduet.atomic import write_tsv
from pathduet.job import job

with job(snakemake, "participation"):
    from pathduet.cohort.labels import task_labels
    from pathduet.expression.fold_matrix import load
    from pathduet.ledger import participation, read_ledger
    from pathduet.sheets import read_patients

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
