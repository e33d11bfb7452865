"""Real patients and a real slide through the same workflow."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

import tiny_cohort

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(2400)]


def test_the_whole_workflow_runs_on_real_expression_and_survival(test_data: Path, tmp_path: Path) -> None:
    """36 + 12 TCGA patients; their slides are composed, so slide-side accuracy is no finding here."""
    cohort = test_data / "cohort_composed"
    config = tmp_path / "config.yaml"
    own = {
        "results": "results",
        "sheets": {"slides": str(cohort / "slides.tsv"), "patients": str(cohort / "patients.tsv")},
        "cohorts": {"internal": ["internal"], "external": ["external"]},
        "expression": {
            "tables": [
                {
                    "cohort": c,
                    "path": str(cohort / f"expression_{c}.tsv.gz"),
                    "unit": "zscore",
                    "samples": None,
                }
                for c in ("internal", "external")
            ]
        },
    }
    from pathduet.core.config import merge

    changes = {"slides": {"max_tiles": 24, "slides_per_job": 20}, "training": tiny_cohort.TOGETHER}
    small = merge(merge(tiny_cohort.SMALL, own), changes)
    config.write_text(yaml.safe_dump(small))
    before = sorted(p.name for p in (cohort / "slides").iterdir())
    result = tiny_cohort.snakemake(tmp_path, config)
    assert result.returncode in (0, 3), result.stdout[-5000:]
    results = tmp_path / "results"
    ledger = pd.read_csv(results / "ledger.tsv", sep="\t", keep_default_na=False)
    assert len(ledger) == len(pd.read_csv(cohort / "slides.tsv", sep="\t"))
    assert (ledger["status"] == "ok").mean() > 0.9, ledger[ledger["status"] != "ok"].to_string()
    survival = pd.read_csv(results / "tables/survival.tsv", sep="\t")
    assert survival.loc[survival["metric"] == "c_index", "mean"].between(0, 1).all()
    assert (results / "report/report.html").is_file()
    assert (
        sorted(p.name for p in (cohort / "slides").iterdir()) == before
    )  # nothing is written beside raw slides


def test_a_real_aperio_slide_goes_through_features(test_data: Path, tmp_path: Path) -> None:
    file = f"{test_data}/slides/CMU-1-Small-Region.svs"
    (tmp_path / "slides.tsv").write_text(
        f"slide_id\tpatient_id\tcohort\tpath\nCMU-1\tP0\tphantom\t{file}\nCMU-2\tP1\tphantom\t{file}\n"
    )
    rows = [f"P{i}\tphantom\t{100 + i}\t1" for i in range(6)]
    (tmp_path / "patients.tsv").write_text(
        "patient_id\tcohort\tsurvival_days\tevent\n" + "\n".join(rows) + "\n"
    )
    folds = [f"P{i}\t{i % 2}" for i in range(6)]
    (tmp_path / "folds.tsv").write_text("patient_id\tfold\n" + "\n".join(folds) + "\n")
    config = tmp_path / "config.yaml"
    own = {
        "sheets": {"slides": "slides.tsv", "patients": "patients.tsv"},
        "cohorts": {"internal": ["phantom"], "external": []},
        "preset": "glioma",
        "tasks": tiny_cohort.ONLY_SURVIVAL,
        "encoder": {"name": "efficientnet_lite0"},
        "split": {"file": "folds.tsv", "folds": 2},
        "labels": {"survival_bins": 2},
    }
    config.write_text(yaml.safe_dump(own))
    result = tiny_cohort.snakemake(tmp_path, config, "results/slides/CMU-1/features.h5")
    assert result.returncode in (0, 3), result.stdout[-3000:]
    with h5py.File(tmp_path / "results/slides/CMU-1/features.h5") as file:
        assert file.attrs["encoder"] == "efficientnet_lite0"
        assert len(str(file.attrs["weights_sha256"])) == 64
        for magnification, size in (("10x", 224 * 1.0), ("20x", 224 * 0.5)):
            group = file[magnification]
            features = group["features"][:]
            assert features.shape[1] == 1280
            assert np.isfinite(features).all()
            steps = np.diff(np.unique(group["coords"][:, 0]))
            # tiles lie where micrometres say: 224 px of the target size, in pixels of 0.499 um
            assert np.allclose(steps % round(size / 0.499), 0, atol=2) or np.allclose(
                steps, size / 0.499, atol=1.01
            )
    stain = json.loads((tmp_path / "results/slides/CMU-1/stain.json").read_text())
    assert np.allclose(np.linalg.norm(stain["source"]["matrix"], axis=1), 1)
