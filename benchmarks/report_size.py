"""Size and time of the report of a large cohort: a finished run's, with its slides repeated under other ids.

    python benchmarks/report_size.py --results results --slides 2387

Ledger, pictures and job times grow with the slides, and every tenth slide has failed; models and folds stay.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd

from pathduet.cohort.ledger import read_ledger
from pathduet.core import config as configuration
from pathduet.core.hardware import peak_memory_mib
from pathduet.report.build import build_report


def grown(results: Path, out: Path, slides: int) -> None:
    """Copy a results folder without its slides, then add `slides` rows and slide folders."""
    shutil.copytree(results, out, ignore=shutil.ignore_patterns("slides", "report", "site", ".*"))
    ledger = pd.read_csv(results / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    ledger = ledger[ledger["status"] == "ok"]
    rows = []
    (out / "slides").mkdir()
    for i in range(slides):
        row = ledger.iloc[i % len(ledger)].to_dict()
        known = row["slide_id"]
        row["slide_id"] = f"{known}.{i}"
        if i % 10 == 9:
            row |= {"status": "failed", "reason": "unreadable", "message": "made up for this measurement"}
        (out / "slides" / row["slide_id"]).symlink_to((results / "slides" / known).resolve())
        rows.append(row)
    pd.DataFrame(rows).to_csv(out / "ledger.tsv", sep="\t", index=False)
    assert len(read_ledger(out / "ledger.tsv")) == slides


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--config", type=Path, help="the run's own; left out for the demo")
    parser.add_argument("--slides", type=int, nargs="+", default=[2387])
    arguments = parser.parse_args()
    config = configuration.resolve(configuration.read(arguments.config) if arguments.config else {})
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for slides in arguments.slides:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "results"
            grown(arguments.results, out, slides)
            page = out / "report" / "report.html"
            began = time.process_time()
            build_report(out, config, page)
            took = time.process_time() - began
            peak = peak_memory_mib()
            line = f"{slides:>6,} slides: {page.stat().st_size / 1e6:.1f} MB, made in {took:.0f} CPU s, peak {peak:.0f} MiB"
            browser = shutil.which("chromium")
            if browser:
                began = time.monotonic()
                options = [
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--dump-dom",
                    f"--user-data-dir={folder}/b",
                ]
                subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
                line += f"; a headless browser has opened it after {time.monotonic() - began:.1f} s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
