# Expression tables -> aligned, log-scaled, highly variable, tumor | TME, standardised: one file a fold.


rule genes:
    input:
        folds=f"{RESULTS}/split/folds.tsv",
        tables=plan.expression_paths(),
        samples=plan.sample_paths(),
        genesets=plan.geneset_paths(),
    output:
        matrix=f"{RESULTS}/genes/fold-{{fold}}.h5ad",
    log:
        f"{RESULTS}/logs/genes/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/genes/fold-{{fold}}.tsv"
    threads: 1
    params:
        settings=plan.gene_settings(),
        code=plan.code("expression"),
    conda:
        "../envs/expression.yaml"
    script:
        "../workflow_scripts/genes.py"
