# Downloads -> input sheets, as rules: include this file (examples/import/Snakefile does) and describe the imports in a config:
#
#   out: sheets
#   imports:
#     tcga:  {importer: tcga, source: null, options: {downloads: gdc, sample-sheet: gdc_sample_sheet.tsv}}
#     cptac: {importer: cptac, source: clinical.xlsx, options: {expression: rna.tsv, unit: tpm}}
#
# Cohorts share the folder's sheets, so imports run one after the other, in the order of the config.

from pathlib import Path

from pathduet.core.file_content import CONTENTS, FileContents

IMPORTS = config["imports"]
SHEETS = config["out"]


wildcard_constraints:
    cohort="|".join(IMPORTS),


def import_inputs(wildcards):
    """Inputs of an import: its source, and the options that name files or folders."""
    entry = IMPORTS[wildcards.cohort]
    named = [entry.get("source"), *(entry.get("options") or {}).values()]
    return [path for path in named if isinstance(path, str) and os.path.exists(path)]


def imported_before(wildcards):
    names = list(IMPORTS)
    place = names.index(wildcards.cohort)
    return [f"{SHEETS}/import_{name}.json" for name in names[:place][-1:]]


def import_content(wildcards):
    """Hashes of the input files: content decides, not the date. For folders Snakemake compares dates."""
    contents = FileContents(Path(SHEETS) / CONTENTS)
    files = filter(os.path.isfile, import_inputs(wildcards))
    return [contents.of(path) for path in files]


def import_entry(wildcards):
    return IMPORTS[wildcards.cohort]


def import_reports():
    return [f"{SHEETS}/import_{name}.json" for name in IMPORTS]


rule import_cohort:
    input:
        sources=import_inputs,
        before=imported_before,
    output:
        report=f"{SHEETS}/import_{{cohort}}.json",
        dropped=f"{SHEETS}/import_{{cohort}}_dropped.tsv",
    log:
        f"{SHEETS}/logs/import_{{cohort}}.log",
    conda:
        "../envs/expression.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        entry=import_entry,
        content=import_content,
    script:
        "../workflow_scripts/import_cohort.py"
