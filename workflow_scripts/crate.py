"""The run as one archive."""

from datetime import UTC, datetime
from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "crate"):
    from pathduet.workflow.crate import write_crate

    report = Path(snakemake.input.report).stat().st_mtime
    date = datetime.fromtimestamp(report, UTC).date().isoformat()
    write_crate(Path(snakemake.params.results), Path(snakemake.output.crate), date)
