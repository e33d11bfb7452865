# From raw whole-slide images and transcriptomes to trained models, tables and one report.
#
#   snakemake --cores 8                          the demo (uses profiles/default automatically)
#   snakemake --cores 8 --configfile mine.yaml   the same for your own cohort: mine.yaml overrides config.yaml
#   snakemake --cores 8 --force results/models/survival/teacher/fold-2/predictions.tsv     one fold again
#
# rules/ holds the dependencies, src/pathduet/ the computations.

from snakemake.utils import min_version

min_version("9.16")


include: "rules/common.smk"


# An image built from envs/containers/, for `--sdm apptainer`; without the variable jobs use the active environment.
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
