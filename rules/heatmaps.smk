# A model's view of single slides: pictures, GeoJSON for QuPath, and a page to zoom into.


rule heatmap:
    input:
        ledger=RESULTS.ledger,
        features=features_manifest,
        genes=asked(plan.genes_of, "model", "fold"),
        weights=RESULTS.model("{task}", "{model}", "{fold}") / WEIGHTS,
        model=RESULTS.model("{task}", "{model}", "{fold}") / DESCRIPTION,
    output:
        png=RESULTS.heatmap("{task}", "{model}", "{fold}", "{slide}") / "heatmap.png",
        geojson=RESULTS.heatmap("{task}", "{model}", "{fold}", "{slide}")
        / "tiles.geojson",
        page=RESULTS.heatmap("{task}", "{model}", "{fold}", "{slide}")
        / "viewer/index.html",
        pyramid=directory(
            RESULTS.heatmap("{task}", "{model}", "{fold}", "{slide}")
            / "viewer/slide_files"
        ),
    log:
        RESULTS.log("heatmap", "{task}", "{model}", "fold-{fold}", "{slide}"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        **told(plan.heatmap_job, "slide"),
        code=code("heatmap"),
    script:
        "../workflow_scripts/heatmap.py"
