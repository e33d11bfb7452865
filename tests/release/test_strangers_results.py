"""Somebody else's results folder: whatever is in it, no command runs its code, writes elsewhere or takes a file along."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_run
from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.core import checksums
from pathduet.core.errors import PathDuetError
from pathduet.release.export import export_release
from pathduet.results import STAGE_ARTIFACTS, Results

pytestmark = pytest.mark.slow


@pytest.fixture
def foreign(run: tiny_run.TinyRun, tmp_path: Path) -> Path:
    """A copy of the run that came from somewhere."""
    return Path(shutil.copytree(run.results, tmp_path / "foreign"))


def commands(run: tiny_run.TinyRun, foreign: Path, folder: Path) -> dict[str, list[str]]:
    """Return the command line of every command that opens a results folder."""
    sheet, given = run.folder / "slides.tsv", ["--results", str(foreign)]
    tile, drawn, out = "P0-s", ["--no-png", "--no-viewer"], folder / "out"
    return {
        "predict": ["predict", str(run.slide("P0")), "--model", str(foreign), "--name", "student", "--out", str(out)],
        "export": ["export", *given, "--model", "student", "--out", str(out)],
        "export the teacher": ["export", *given, "--model", "teacher", "--out", str(out)],
        "heatmap": ["heatmap", tile, *given, "--model", "teacher", "--out", str(out), "--sheet", str(sheet), *drawn],
        "features export": ["features", "export", "--format", "geojson", *given, "--model", "teacher", "--out", str(out)],
        "features export alone": ["features", "export", "--format", "trident", *given, "--out", str(out)],
        "status": ["status", *given],
        "status --verify": ["status", *given, "--verify"],
        "view": ["view", str(foreign), "--no-browser"],
    }  # fmt: skip


def call(words: list[str]) -> str:
    """Run a command; return what it said. It ends by itself, never by an error that nobody expected."""
    if "--out" in words:  # each starts with nothing
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, PathDuetError | SystemExit | None), (words, repr(done.exception))
    return f"{done.output} {done.exception or ''}"


def rewrite(path: Path, **values: object) -> None:
    """Change a JSON file; its checksum fits."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    checksums.record([path])


def test_no_command_runs_the_code_that_a_results_folder_names(
    run: tiny_run.TinyRun, foreign: Path, tmp_path: Path
):
    code, fired = foreign / "models/helper.py", tmp_path / "fired"
    code.write_text(f"open({str(fired)!r}, 'w').close()\nimport torch\nclass Net(torch.nn.Module): pass\n")
    own = {"file": str(code), "network": "Net", "sha256": hashlib.sha256(code.read_bytes()).hexdigest()}
    for path in foreign.rglob("model.json"):
        rewrite(path, base="mine", own_network=own, network_settings={})
    for name, words in commands(run, foreign, tmp_path).items():
        said = call(words)
        assert not fired.exists(), name
        if name in ("predict", "export", "export the teacher"):
            assert "a release contains no code" in said, (name, said)
        if name in ("heatmap", "features export"):
            assert "a user's own network" in said, (name, said)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_command_unpickles_what_stands_in_place_of_an_artifact(
    run: tiny_run.TinyRun, foreign: Path, tmp_path: Path
):
    fired = tmp_path / "fired"
    data = pickle.dumps(Bomb(fired))
    files = [p for p in foreign.rglob("*") if p.suffix in (".safetensors", ".h5", ".h5ad")]
    for path in files:
        path.write_bytes(data)
        if path.name not in sum(STAGE_ARTIFACTS.values(), ()):
            checksums.record([path])
    for status in foreign.rglob("*.status.json"):
        found = json.loads(status.read_text()) | {"sha256": {}}
        found.pop("checksum")
        status.write_text(json.dumps(found))
    for path in foreign.rglob("model.json"):
        rewrite(path, weights_sha256=hashlib.sha256(data).hexdigest())
    for name, words in commands(run, foreign, tmp_path).items():
        call(words)
        assert not fired.exists(), name


@pytest.mark.parametrize("task", ["../../elsewhere", "/elsewhere", "os; rm"])
def test_names_of_a_run_lead_nowhere_else(run: tiny_run.TinyRun, foreign: Path, tmp_path: Path, task: str):
    record = json.loads((foreign / "provenance.json").read_text())
    config = record["config"] | {"tasks": {task: record["config"]["tasks"]["receptor"]}}
    rewrite(foreign / "provenance.json", config=config)
    for name, words in commands(run, foreign, tmp_path / "a/b").items():
        said = call(words)
        if not name.startswith(("status", "view", "features export alone")):
            assert "provenance.json: tasks" in said, (name, said)
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "a/elsewhere").exists()


def test_ids_of_a_run_lead_nowhere_else(run: tiny_run.TinyRun, foreign: Path, tmp_path: Path):
    ledger = pd.read_csv(foreign / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    shutil.copytree(foreign / "slides/P0-s", foreign / "P0-s")
    ledger.loc[0, "slide_id"] = "../P0-s"
    ledger.to_csv(foreign / "ledger.tsv", sep="\t", index=False)
    for name, words in commands(run, foreign, tmp_path / "a").items():
        said = call(words)
        if name.startswith(("export", "features", "predict")):
            assert "'../P0-s' is not a slide_id" in said, (name, said)


def test_another_stain_target_than_that_of_the_run_is_not_taken_along(
    run: tiny_run.TinyRun, foreign: Path, tmp_path: Path
):
    from PIL import Image

    private = tmp_path / "private.png"
    Image.new("RGB", (64, 64), (200, 120, 180)).save(private)
    record = json.loads((foreign / "provenance.json").read_text())
    record["config"]["stain"]["target"] = str(private)
    rewrite(foreign / "provenance.json", **record)
    with pytest.raises(PathDuetError, match=r"private\.png.*is not the image that the run used"):
        export_release(foreign, "student", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_damage_is_named_by_every_command_that_reads_the_file(
    run: tiny_run.TinyRun, foreign: Path, tmp_path: Path
):
    layout = Results(foreign)
    read_by = {
        layout.model("receptor", "teacher", 0) / "model.json": (
            "export",
            "predict",
            "heatmap --task receptor",
        ),
        layout.features("P0-s"): ("export", "heatmap", "features export alone"),
        layout.slide("P0-s") / "tiles.h5": ("export", "features export alone"),
        layout.genes(0): ("export", "heatmap"),
        layout.ledger: ("export", "features export", "status"),
        layout.provenance: ("export", "heatmap"),
    }
    checksums.record([p for p in read_by if p.name not in sum(STAGE_ARTIFACTS.values(), ())])
    for path, names in read_by.items():
        before = path.read_bytes()
        data = bytearray(before)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        listed = commands(run, foreign, tmp_path)
        for name in names:
            command, *more = name.split(" --")
            words = [*listed[command], *(word for one in more for word in f"--{one}".split())]
            said = call(words)
            assert f"{path} is not what was written" in said or f"{path.name}: is not what was written" in said, (
                name, path, said,
            )  # fmt: skip
            assert "make it again with `snakemake" in said
        verified = call(listed["status --verify"])
        assert "1 damaged" in verified and path.relative_to(foreign).as_posix() in verified
        path.write_bytes(before)
    assert "0 damaged, 0 missing" in call(commands(run, foreign, tmp_path)["status --verify"])


def test_an_export_that_fails_leaves_nothing(run: tiny_run.TinyRun, foreign: Path, tmp_path: Path):
    (foreign / "slides/P3-s/features.h5").write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(PathDuetError, match=r"P3-s, features\.h5"):
            export_release(foreign, "student", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
    shutil.copy(run.results / "slides/P3-s/features.h5", foreign / "slides/P3-s")
    export_release(foreign, "student", tmp_path / "out")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['touch {}']", "seed: !!python/name:os.system", "a: [\n", "\udcff"],
)
def test_a_configuration_runs_no_code(tmp_path: Path, text: str):
    (tmp_path / "c.yaml").write_bytes(
        text.replace("{}", str(tmp_path / "fired")).encode("utf-8", "surrogateescape")
    )
    said = call(["check", "--config", str(tmp_path / "c.yaml")])
    assert "not valid YAML" in said and not (tmp_path / "fired").exists()
