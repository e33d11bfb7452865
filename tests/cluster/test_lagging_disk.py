"""A shared disk that lags: login node and compute node see each other's files seconds late, as over NFS.

Both reach one folder through a FUSE mount of their own whose entries, attributes and "no such file" answers are cached
for some seconds. Needs bindfs (Debian: bindfs, fuse3) and mount rights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tiny_cohort
from cluster.one_node_slurm import OneNodeSlurm, why_not
from cluster.test_slurm import Run, owners_profile

LAG_S = 4
#: Gives a command another folder in place of one: `sh -c IN_PLACE other folder command...`.
IN_PLACE = 'mount --bind "$0" "$1" && shift && exec "$@"'


def why_no_lag() -> str:
    """Return why a lagging disk cannot be made here; empty if it can."""
    if why_not():
        return why_not()
    if shutil.which("bindfs") is None or not Path("/dev/fuse").exists():
        return "bindfs is not installed (Debian: apt-get install bindfs fuse3), or there is no /dev/fuse"
    return ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(bool(why_no_lag()), reason=why_no_lag() or "a lagging disk can be made"),
]


@pytest.fixture
def views(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two views of one folder: the login node's and the compute node's."""
    shared = tmp_path / "shared"
    login, node = tmp_path / "login", tmp_path / "node"
    for folder in (shared, login, node):
        folder.mkdir()
    cached = f"attr_timeout={LAG_S},entry_timeout={LAG_S},negative_timeout={LAG_S}"
    for view in (login, node):
        subprocess.run(["bindfs", "-o", cached, str(shared), str(view)], check=True)
    yield login, node
    for view in (login, node):
        subprocess.run(["umount", "--lazy", str(view)], check=False)


def test_a_run_over_a_lagging_disk_loses_nothing(views: tuple[Path, Path], tmp_path: Path) -> None:
    login, node = views
    # the disk does lag
    assert not (login / "probe").exists()
    (node / "probe").touch()
    assert not (login / "probe").exists()
    time.sleep(LAG_S + 1)
    assert (login / "probe").exists()

    cohort = tiny_cohort.make_cohort(login / "cohort", external=0, slide_px=512)
    table = {
        "cohort": "phantom",
        "path": str(cohort / "expression_phantom.tsv.gz"),
        "unit": "counts",
        "samples": None,
    }
    tiny_cohort.write_config(
        login, cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}, cohorts={"external": []},
        slides={"slides_per_job": 8, "max_tiles": 16}, stain={"backend": "none"}, expression={"tables": [table]},
    )  # fmt: skip
    profile = owners_profile(tmp_path)
    settings = yaml.safe_load((profile / "config.yaml").read_text())
    settings["latency-wait"] = 30
    settings["set-resources"]["train"]["runtime"] = 30
    (profile / "config.yaml").write_text(yaml.safe_dump(settings))
    in_node = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_PLACE, str(node), str(login)]
    with OneNodeSlurm(tmp_path / "slurm", in_node) as slurm:
        run = Run(login, profile, slurm)
        try:
            run.start()
            assert run.finish(2000) == 0, run.output()[-4000:]
        finally:
            if run.process is not None and run.process.poll() is None:
                run.process.kill()
                run.process.wait()
            slurm.cancel_all()
        states = {job["state"] for job in run.look().values()}
    assert states == {"COMPLETED"}, run.seen  # nothing had to be sent again
    ledger = pd.read_csv(login / "results/ledger.tsv", sep="\t")
    sheet = pd.read_csv(cohort / "slides.tsv", sep="\t")
    assert sorted(ledger["slide_id"]) == sorted(sheet["slide_id"]) and set(ledger["status"]) == {"ok"}
    assert (login / "results/models/survival/student/fold-0/predictions.tsv").is_file()
    assert not [name for _, _, names in os.walk(login / "results") for name in names if ".tmp" in name]
