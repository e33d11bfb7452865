"""What a job took, with the processes that it started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pathduet.core.hardware import reset_peak_memory, resident_bytes
from pathduet.workflow.job_cost import measured

CHILD = """
import time
held = b"1" * (400 * 2**20)
while time.process_time() < 0.8:
    pass
time.sleep(1.5)
"""


@pytest.mark.slow
def test_a_jobs_cost_includes_the_processes_it_started(tmp_path: Path) -> None:
    reset_peak_memory()  # this process's own peak, of other tests, would hide the child
    before, held = sum(os.times()[:4]), resident_bytes(os.getpid()) / 2**20
    with measured(tmp_path / "benchmarks/train/a.tsv"):
        subprocess.run([sys.executable, "-S", "-c", CHILD], check=True)
    (row,) = pd.read_csv(tmp_path / "benchmarks/train/a.tsv", sep="\t").to_dict("records")
    assert row["s"] > 1.5 and row["max_rss"] > held + 350
    assert row["cpu_time"] > before + 0.7


def test_a_job_that_failed_has_no_cost(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), measured(tmp_path / "a.tsv"):
        raise ValueError("no")
    assert not (tmp_path / "a.tsv").exists()
