"""The slide ledger: one row for every slide of the sheet."""

from pathlib import Path

from pathduet.core.files import write_tsv
from pathduet.workflow.job import job

with job(snakemake, "ledger"):
    from pathduet.cohort.ledger import build_ledger, summarise
    from pathduet.cohort.sheets import read_sheets

    # a list of one or none; that every slide has a source is known
    sheet = next(iter(snakemake.input.slides), None)
    slides, _ = read_sheets(sheet, snakemake.input.patients, features_elsewhere=True)
    ledger = build_ledger(slides, [Path(manifest) for manifest in snakemake.input.manifests])
    write_tsv(snakemake.output.ledger, ledger)
    print(summarise(ledger))
