"""Sheets of the three public cohorts."""

from pathlib import Path

from pathduet.job import job

with job(snakemake, "sheets"):
    from pathduet.atomic import write_text
    from pathduet.transcriptome.public_gliomas import write_sheets

    notes = write_sheets(snakemake.params.data, Path(snakemake.output.patients).parent)
    write_text(snakemake.output.notes, "\n".join(notes) + "\n")
