# Raw whole-slide images and transcriptomes in, trained models, tables and one report out.
#
#   snakemake --cores 8                          the demo (profiles/default is picked up by itself)
#   snakemake --cores 8 --configfile mine.yaml   the same on your own cohort: mine.yaml is laid over config.yaml
#   snakemake --cores 8 --force results/models/survival/teacher/fold-2/predictions.tsv     one fold again
#
# What depends on what stands in rules/; what is computed, and how, in src/pathduet/.

from snakemake.utils import min_version

min_version("9.16")


include: "rules/common.smk"


# An image built from envs/containers/, for `--sdm apptainer`; without the variable jobs run in the active environment.
if os.getenv("PATHDUET_IMAGE"):

    container: os.getenv("PATHDUET_IMAGE")


if plan.drawn_from:

    include: "rules/phantom.smk"


include: "rules/slides.smk"
include: "rules/cohort.smk"
include: "rules/genes.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/explain.smk"
include: "rules/heatmaps.smk"
include: "rules/report.smk"
include: "rules/release.smk"


rule all:
    default_target: True
    input:
        final_targets(),


rule tables:
    input:
        tables(),


rule explanations:
    input:
        explanations(),


onstart:
    start()


onsuccess:
    finish(True, log)


onerror:
    finish(False, log)
