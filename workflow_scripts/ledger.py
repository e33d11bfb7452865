"""The slide ledger: one row per slide of the sheet."""

from pathlib import Path

from pathduet.core.files import write_tsv
from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.cohort.ledger import build_ledger, summarise
    from pathduet.cohort.sheets import SlideRow

    slides = [SlideRow(*row) for row in snakemake.params.settings]
    ledger = build_ledger(slides, [Path(manifest) for manifest in snakemake.input.manifests])
    write_tsv(snakemake.output.ledger, ledger)
    print(summarise(ledger))
