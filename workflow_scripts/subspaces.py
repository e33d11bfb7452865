"""The subspace of each gene, and the folds in which it was selected."""

from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.core.files import write_tsv
    from pathduet.expression.gene_sets import gene_lists
    from pathduet.expression.subspace_table import subspace_table

    settings = snakemake.params.settings
    table = subspace_table(
        snakemake.input.matrices, gene_lists(settings["subspaces"]), settings["expression"]["shared_genes"]
    )
    write_tsv(snakemake.output.table, table)
