"""The expression matrix of one fold."""

from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.sheets import read_patients
    from pathduet.expression.fold_matrix import write
    from pathduet.expression.prepare import prepare_fold

    matrix = prepare_fold(
        snakemake.params.settings,
        read_patients(snakemake.params.files["patients"]),
        read_folds(snakemake.input.folds),
        int(snakemake.wildcards.fold),
    )
    write(snakemake.output.matrix, matrix)
    print(matrix.uns["pathduet"])
