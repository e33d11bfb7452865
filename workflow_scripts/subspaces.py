"""Which gene went into which subspace, and in which folds it was selected."""

from pathduet.workflow.job import job

with job(snakemake, "subspaces"):
    from pathduet.core.files import write_tsv
    from pathduet.expression.prepare import gene_lists
    from pathduet.expression.subspace_table import subspace_table

    genesets = snakemake.params.genesets
    write_tsv(
        snakemake.output.table,
        subspace_table(snakemake.input.matrices, gene_lists(genesets), genesets["both"]),
    )
