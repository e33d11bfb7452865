"""One table of variations: ablation, gene selections, findings."""

from pathduet.workflow.job import job

with job(snakemake, f"table {snakemake.wildcards.variation}"):
    from pathduet.evaluation.variation_tables import write_variation_table

    write_variation_table(
        snakemake.params.results,
        snakemake.wildcards.variation,
        snakemake.params.rows,
        len(snakemake.params.folds),
        snakemake.params.settings,
        snakemake.output.tsv,
        snakemake.output.markdown,
        html=snakemake.output.html,
        figure=snakemake.output.figure,
    )
