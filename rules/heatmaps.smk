# What a model made of single slides: pictures, GeoJSON for QuPath, and a page to zoom into.


rule heatmap:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        genes=expression,
        weights=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/weights.safetensors",
        model=f"{RESULTS}/models/{{task}}/{{model}}/fold-{{fold}}/model.json",
    output:
        png=f"{RESULTS}/explanations/{{task}}/{{model}}/fold-{{fold}}/{{slide}}/heatmap.png",
        geojson=f"{RESULTS}/explanations/{{task}}/{{model}}/fold-{{fold}}/{{slide}}/tiles.geojson",
        page=f"{RESULTS}/explanations/{{task}}/{{model}}/fold-{{fold}}/{{slide}}/viewer/index.html",
        pyramid=directory(
            f"{RESULTS}/explanations/{{task}}/{{model}}/fold-{{fold}}/{{slide}}/viewer/slide_files"
        ),
    log:
        f"{RESULTS}/logs/heatmap/{{task}}/{{model}}/fold-{{fold}}/{{slide}}.log",
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        slide=lambda wildcards: plan.slide_table(wildcards.slide),
        stamp=lambda wildcards: plan.raw_stamp(wildcards.slide),
        repair=plan.repair_settings(),
        viewer_mpp=plan.config["explanations"]["heatmaps"]["viewer_mpp"],
        code=code("heatmap"),
    script:
        "../workflow_scripts/heatmap.py"
