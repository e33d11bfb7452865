"""Seeded damage of a tiny run's artifacts: every reader refuses it by name, or says the same as before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_run

from faults import fuzz_artifacts
from pathduet.core import checksums

pytestmark = pytest.mark.slow


def test_damage_is_refused_by_name_or_changes_nothing(run: tiny_run.TinyRun, tmp_path: Path) -> None:
    root = Path(shutil.copytree(run.results, tmp_path / "results"))
    # as jobs do; slides have theirs
    checksums.record(p for p in root.rglob("*") if p.is_file() and p.relative_to(root).parts[0] != "slides")
    every = fuzz_artifacts.readers(root, run.config)
    known = {name: every[name] for name in ("export", "features export", "predict")}
    found = list(fuzz_artifacts.cases(root, known, 36, seed=20261126, folder=tmp_path / "out", each=1))
    assert [case for case in found if case.silent] == []
    assert {case.outcome for case in found} == {"refused", "same"}
    assert len({Path(case.file).name for case in found}) >= 12 and len({case.damage for case in found}) >= 8
