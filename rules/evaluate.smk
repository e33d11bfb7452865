# Predictions and metrics: on the test part of each fold, and zero-shot on the external cohorts.


rule evaluate:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        patients=plan.config["sheets"]["patients"],
        folds=f"{RESULTS}/split/folds.tsv",
        genes=expression,
        weights=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/weights.safetensors",
        model=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/model.json",
    output:
        predictions=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/predictions.tsv",
        representations=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/representations.h5",
        metrics=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/metrics.json",
    log:
        f"{RESULTS}/logs/evaluate/{{task}}/{{model}}/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{task}}-{{model}}-fold-{{fold}}.tsv"
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        part=tested_part,
        may_fail=may_fail,
        repair=plan.repair_settings(),
        settings=plan.evaluation_settings(),
        code=code("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


rule external:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        patients=plan.config["sheets"]["patients"],
        folds=f"{RESULTS}/split/folds.tsv",
        genes=expression,
        weights=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/weights.safetensors",
        model=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/model.json",
    output:
        predictions=f"{RESULTS}/external/{{task}}/{{model}}/fold-{{fold}}/predictions.tsv",
        representations=f"{RESULTS}/external/{{task}}/{{model}}/fold-{{fold}}/representations.h5",
        metrics=f"{RESULTS}/external/{{task}}/{{model}}/fold-{{fold}}/metrics.json",
    log:
        f"{RESULTS}/logs/external/{{task}}/{{model}}/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/external/{{task}}-{{model}}-fold-{{fold}}.tsv"
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        part=external_part,
        may_fail=may_fail,
        repair=plan.repair_settings(),
        settings=plan.evaluation_settings(),
        code=code("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


# Cox models and logistic regressions on age, sex and grade: what any network has to beat. Fast, so all of a fold in one job.
rule clinical:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        patients=plan.config["sheets"]["patients"],
        folds=f"{RESULTS}/split/folds.tsv",
    output:
        internal=clinical_outputs("models", plan.tasks),
        external=clinical_outputs(
            "external", ["survival"] if plan.external_cohorts else []
        ),
    log:
        f"{RESULTS}/logs/clinical/fold-{{fold}}.log",
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        models={task: plan.clinical_models(task) for task in plan.tasks},
        external_cohorts=plan.external_cohorts,
        settings=plan.evaluation_settings(),
        code=code("clinical"),
    script:
        "../workflow_scripts/clinical.py"


rule ensemble:
    input:
        predictions=external_predictions,
    output:
        predictions=f"{RESULTS}/external/survival/{{any_model}}/ensemble/predictions.tsv",
        metrics=f"{RESULTS}/external/survival/{{any_model}}/ensemble/metrics.json",
    log:
        f"{RESULTS}/logs/ensemble/{{any_model}}.log",
    wildcard_constraints:
        any_model="|".join([*plan.arms, *plan.clinical_models("survival")]),
    conda:
        "../envs/learning.yaml"
    params:
        settings=plan.evaluation_settings(),
        code=code("ensemble"),
    script:
        "../workflow_scripts/ensemble.py"


rule table:
    input:
        metrics=metrics_of_task,
    output:
        tsv=f"{RESULTS}/tables/{{task}}.tsv",
        markdown=f"{RESULTS}/tables/{{task}}.md",
        html=f"{RESULTS}/tables/{{task}}.html",
        figure=f"{RESULTS}/tables/{{task}}.svg",
    log:
        f"{RESULTS}/logs/tables/{{task}}.log",
    conda:
        "../envs/learning.yaml"
    params:
        name=lambda wildcards: wildcards.task,
        settings=plan.evaluation_settings(),
        models=lambda wildcards: plan.models(wildcards.task),
        folds=plan.folds,
        results=results_folder,
        code=code("table"),
    script:
        "../workflow_scripts/table.py"


rule external_table:
    input:
        metrics=external_metrics,
    output:
        tsv=f"{RESULTS}/tables/external.tsv",
        markdown=f"{RESULTS}/tables/external.md",
        html=f"{RESULTS}/tables/external.html",
        figure=f"{RESULTS}/tables/external.svg",
    log:
        f"{RESULTS}/logs/tables/external.log",
    conda:
        "../envs/learning.yaml"
    params:
        name="external",
        settings=plan.evaluation_settings(),
        models=plan.models("survival"),
        folds=plan.folds,
        results=results_folder,
        code=code("table"),
    script:
        "../workflow_scripts/table.py"


rule variation_table:
    input:
        metrics=metrics_of_variations,
    output:
        tsv=f"{RESULTS}/tables/{{variation}}.tsv",
        markdown=f"{RESULTS}/tables/{{variation}}.md",
        html=f"{RESULTS}/tables/{{variation}}.html",
        figure=f"{RESULTS}/tables/{{variation}}.svg",
    log:
        f"{RESULTS}/logs/tables/{{variation}}.log",
    conda:
        "../envs/learning.yaml"
    params:
        rows=lambda wildcards: plan.variation_rows(wildcards.variation),
        settings=plan.evaluation_settings(),
        folds=plan.folds,
        results=results_folder,
        code=code("variation_table"),
    script:
        "../workflow_scripts/variation_table.py"
