"""The notebooks run from top to bottom, on the tiny run; they are stored without outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_run import TinyRun

from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.result_tables import ResultTable
from pathduet.results import Results
from pathduet.workflow.plan import Plan

NAMES = ("one_slide", "explore_cohort", "own_model")


@pytest.fixture(scope="module")
def place(run: TinyRun, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a checkout has after a run: results, their tables among them, and the examples."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(run.results, folder / "results")
    (folder / "examples").symlink_to(repository / "examples")
    settings = Plan.from_config(run.config).evaluation_job("pfi").settings
    table = ResultTable(**settings["table"])
    evaluate_table(Results(folder / "results"), table, settings["rows"], settings["n_folds"], settings)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, place: Path, repository: Path, monkeypatch: pytest.MonkeyPatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(repository / "examples" / "notebooks" / f"{name}.ipynb", as_version=4)
    before = sorted(place.joinpath("results").rglob("*"))
    client = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(place)}})
    client.execute()  # raises what a cell raises
    outputs = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    assert any("text/plain" in one.get("data", {}) for one in outputs)
    assert [one for one in outputs if one.get("name") == "stderr" and "Traceback" in one["text"]] == []
    assert sorted(place.joinpath("results").rglob("*")) == before, "a run is only read"


def test_notebooks_are_stored_without_outputs(repository: Path):
    files = sorted((repository / "examples" / "notebooks").glob("*.ipynb"))
    assert [file.stem for file in files] == sorted(NAMES)
    for file in files:
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None
