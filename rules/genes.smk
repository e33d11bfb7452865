# Expression tables -> aligned, log-scaled, highly variable, tumor | TME, standardised: one file a fold.


rule genes:
    input:
        folds=f"{RESULTS}/split/folds.tsv",
        patients=plan.config["sheets"]["patients"],
        tables=plan.expression_paths(),
        samples=plan.sample_paths(),
        genesets=plan.geneset_paths(),
    output:
        matrix=f"{RESULTS}/genes/fold-{{fold}}.h5ad",
    log:
        f"{RESULTS}/logs/genes/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/genes/fold-{{fold}}.tsv"
    conda:
        "../envs/expression.yaml"
    threads: 1
    params:
        settings=plan.gene_settings(),
        code=code("genes"),
    script:
        "../workflow_scripts/genes.py"


# The same with another share of genes, or with random ones: for the variations that ask for it.
rule gene_selection:
    input:
        folds=f"{RESULTS}/split/folds.tsv",
        patients=plan.config["sheets"]["patients"],
        tables=plan.expression_paths(),
        samples=plan.sample_paths(),
        genesets=plan.geneset_paths(),
    output:
        matrix=f"{RESULTS}/genes/{{selection}}/fold-{{fold}}.h5ad",
    log:
        f"{RESULTS}/logs/genes/{{selection}}/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/genes/{{selection}}-fold-{{fold}}.tsv"
    conda:
        "../envs/expression.yaml"
    threads: 1
    params:
        settings=selection_settings,
        code=code("genes"),
    script:
        "../workflow_scripts/genes.py"


rule subspaces:
    input:
        matrices=[f"{RESULTS}/genes/fold-{fold}.h5ad" for fold in plan.folds],
        genesets=plan.geneset_paths(),
    output:
        table=f"{RESULTS}/genes/subspaces.tsv",
    log:
        f"{RESULTS}/logs/genes/subspaces.log",
    conda:
        "../envs/expression.yaml"
    params:
        genesets=plan.config["genesets"],
        code=code("subspaces"),
    script:
        "../workflow_scripts/subspaces.py"
