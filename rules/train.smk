# Teacher (slides and genes), student (slides) and distilled student, baselines and variations, for each task and fold.


rule train:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        patients=plan.config["sheets"]["patients"],
        folds=f"{RESULTS}/split/folds.tsv",
        genes=expression,
        warm=warm_start,
    output:
        weights=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/weights.safetensors",
        model=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/model.json",
        history=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/history.tsv",
        cost=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/cost.json",
    log:
        f"{RESULTS}/logs/train/{{task}}/{{model}}/fold-{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{task}}-{{model}}-fold-{{fold}}.tsv"
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        settings=training_settings,
        may_fail=may_fail,
        repair=plan.repair_settings(),
        code=code("train"),
    script:
        "../workflow_scripts/train.py"
