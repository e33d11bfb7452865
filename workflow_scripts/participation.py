"""Which patients took part in what, one row per patient; and which models the run leaves out."""

from pathduet.core.files import write_tsv
from pathduet.workflow.job import job

with job(snakemake):
    import pandas as pd

    from pathduet.cohort.labels import known_labels, task_labels
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.participation import participation
    from pathduet.cohort.sheets import read_patients
    from pathduet.cohort.tasks import Task
    from pathduet.expression.fold_matrix import load

    patients = read_patients(snakemake.params.files["patients"])
    tasks = [Task.of(plain["name"], plain) for plain in snakemake.params.settings["tasks"]]
    labelled = {task.name: known_labels(task_labels(patients, task)).index for task in tasks}
    genes = snakemake.input.genes
    expressed = load(genes[0]).patients if genes else []
    table = participation(read_ledger(snakemake.input.ledger), patients, expressed, labelled)
    write_tsv(snakemake.output.participation, table)
    left_out = [(model, reason) for model, reason in snakemake.params.settings["left_out"].items()]
    write_tsv(snakemake.output.left_out, pd.DataFrame(left_out, columns=["model", "reason"]))
