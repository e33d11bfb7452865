"""What the run was made of."""

from pathduet.atomic import write_json
from pathduet.job import job

with job(snakemake, "provenance"):
    from pathduet.provenance import run_record

    write_json(snakemake.output.record, run_record(snakemake.params.config, list(snakemake.input)))
