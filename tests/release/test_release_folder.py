"""A release holds what prediction needs, is the same bytes again, and anything altered in it is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from pathduet.core.errors import InputError
from pathduet.expression.fold_matrix import load as load_matrix
from pathduet.expression.tables import read_expression
from pathduet.release.contents import verify
from pathduet.release.export import export_release
from pathduet.release.load import check_encoder, load_release
from pathduet.release.model_card import NOTICE

pytestmark = pytest.mark.slow
WEIGHTS = "models/receptor/student/fold-0/weights.safetensors"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_exporting_again_gives_the_same_bytes_and_replaces_what_was_there(
    run: tiny_run.TinyRun, released: Path, copy: Path
):
    (copy / "genes" / "left_over.json").write_text("{}")
    export_release(run.results, "student", copy)
    assert snapshot(copy) == snapshot(released)


def test_the_checksums_are_those_of_sha256sum(released: Path):
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=released, capture_output=True, text=True, check=True
    )
    assert done.stdout.count(": OK") == len(verify(released)["files"]) + 1


def test_the_slides_model_and_the_teacher_are_in_it_with_their_folds(released: Path):
    release = load_release(released)
    assert release.manifest["tasks"] == {
        task: {"slides": "student", "expression": "teacher"} for task in tiny_run.TASKS
    }
    for task in tiny_run.TASKS:
        for model in tiny_run.MODELS:
            assert [d.fold for _, d in release.networks(task, model)] == list(tiny_run.FOLDS)
    assert len(release.reference.fingerprints) == len(tiny_run.PATIENTS)
    check_encoder(release)


def test_nothing_in_it_names_a_patient_or_this_machine(run: tiny_run.TinyRun, released: Path):
    for path in released.rglob("*.json"):
        text = path.read_text()
        assert str(run.folder) not in text, path
        assert not any(f'"{patient}"' in text or f"{patient}-s" in text for patient in tiny_run.PATIENTS), (
            path
        )


def test_the_card_says_research_only_and_how_many_trained_it(released: Path):
    text = (released / "MODEL_CARD.md").read_text()
    assert NOTICE in text and "| status | ok | 8 |" in text
    assert "| receptor | student | 0 | 4 | 4 |" in text


def test_the_scalers_give_the_workflows_own_numbers(run: tiny_run.TinyRun, released: Path):
    release = load_release(released)
    table = read_expression(run.expression, "counts", "new")
    for fold in tiny_run.FOLDS:
        theirs = load_matrix(run.results / "genes" / f"fold-{fold}.h5ad")
        ours = release.scalings[fold].apply(table)
        for patient in tiny_run.PATIENTS:
            for mine, wanted in zip(ours.row_for(patient, ""), theirs.row_for(patient, ""), strict=True):
                np.testing.assert_array_equal(mine, wanted)


def test_genes_a_table_lacks_stand_at_the_training_mean_until_they_are_too_many(
    run: tiny_run.TinyRun, released: Path
):
    scaling = load_release(released).scalings[0]
    table = read_expression(run.expression, "counts", "new")
    for lacking, refused in ((0, False), (len(scaling.genes["tumor"]) // 2, True)):
        gone = list(scaling.genes["tumor"][:lacking])
        less = table.values.drop(index=gone)
        fewer = type(table)(table.cohort, table.unit, less, table.samples, table.counts)
        if refused:
            with pytest.raises(InputError, match="are not in the table"):
                scaling.apply(fewer)
        else:
            assert np.isfinite(scaling.apply(fewer).values["tumor"]).all()


@pytest.mark.parametrize(
    "name", [WEIGHTS, "settings.json", "genes/fold-1.json", "reference/reference.safetensors"]
)
def test_an_altered_file_is_refused_by_name(copy: Path, name: str):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}.*altered"):
        load_release(copy)


def test_a_missing_file_is_refused_by_name(copy: Path):
    (copy / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"{WEIGHTS}.*missing"):
        load_release(copy)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/hostname.json", "models/../../x.json", "a\\b.json", "x.pkl", "run.py"]
)
def test_a_manifest_that_leads_elsewhere_or_lists_code_is_refused(copy: Path, name: str):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"no path inside|does not contain"):
        load_release(copy)


def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path):
    outside = tmp_path / "outside.json"
    outside.write_bytes((copy / "settings.json").read_bytes())
    (copy / "settings.json").unlink()
    (copy / "settings.json").symlink_to(outside)
    with pytest.raises(InputError, match="leaves the folder"):
        load_release(copy)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_in_place_of_weights_is_refused_and_never_loaded(
    copy: Path, tmp_path: Path, forge: Callable[[Path], None]
):
    fired = tmp_path / "fired"
    data = pickle.dumps(Bomb(fired))
    pickle.loads(data)
    assert fired.exists()  # the bomb works
    fired.unlink()
    (copy / WEIGHTS).write_bytes(data)
    record = json.loads((copy / WEIGHTS).with_name("model.json").read_text())
    record["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (copy / WEIGHTS).with_name("model.json").write_text(json.dumps(record))
    forge(copy)
    with pytest.raises(InputError, match="a model that cannot be loaded"):
        load_release(copy).networks("receptor", "student")
    assert not fired.exists()


def test_a_network_of_somebodys_own_code_is_refused_and_never_run(
    copy: Path, tmp_path: Path, forge: Callable[[Path], None]
):
    code = tmp_path / "net.py"
    code.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'fired')!r}).touch()\n")
    path = (copy / WEIGHTS).with_name("model.json")
    own = {"file": str(code), "network": "Net", "sha256": hashlib.sha256(code.read_bytes()).hexdigest()}
    record = json.loads(path.read_text()) | {"base": "mine", "own_network": own, "network_settings": {}}
    record |= {"learns_from": ["slides"], "predicts_from": ["slides"]}
    path.write_text(json.dumps(record))
    forge(copy)
    with pytest.raises(InputError, match="a user's own network"):
        load_release(copy).networks("receptor", "student")
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("weights", "evil.pt"), ("device", "cuda:0"), ("options", {"checkpoint_path": "evil.pt"}),
     ("options", {"pretrained_cfg": {"file": "evil.pt"}})],
)  # fmt: skip
def test_a_release_cannot_name_files_to_open(
    copy: Path, forge: Callable[[Path], None], key: str, value: object
):
    """A TorchScript file, or an old checkpoint, would carry code."""
    settings = json.loads((copy / "settings.json").read_text())
    settings["encoder"] |= {"name": "torchscript" if key == "weights" else "timm:resnet18", key: value}
    (copy / "settings.json").write_text(json.dumps(settings))
    forge(copy)
    with pytest.raises(InputError, match=rf"encoder\.{key}.*only this machine may set"):
        load_release(copy)


def test_json_nested_without_end_is_no_release(copy: Path, forge: Callable[[Path], None]):
    (copy / "settings.json").write_text("[" * 100_000)
    forge(copy)
    with pytest.raises(InputError, match=r"settings\.json.*no JSON"):
        load_release(copy)
    (copy / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read"):
        load_release(copy)


def test_what_the_manifest_does_not_list_is_refused_by_name(copy: Path):
    (copy / ".DS_Store").write_text("left by a file browser")
    load_release(copy)
    (copy / "models/receptor/student/fold-0/weights.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"fold-0/weights\.pt.*not in the manifest"):
        load_release(copy)


def test_an_edited_manifest_is_refused(copy: Path):
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"simulated_cohort": false', '"simulated_cohort": true'))
    with pytest.raises(InputError, match=r"manifest\.json.*not that of SHA256SUMS"):
        load_release(copy)
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match=r"SHA256SUMS.*missing"):
        load_release(copy)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("encoder", "name", "timm:hf-hub:somebody/weights"),
        ("encoder", "name", "timm:local-dir:/tmp/weights"),
        ("encoder", "name", "no_such_encoder"),
        ("encoder", "input_px", 10**7),
        ("slides", "tile_px", 10**7),
        ("slides", "mpp_20x", 0.0001),
        ("stain", "sample_pixels", 10**12),
        ("stain", "unknown", 1),
    ],
)
def test_settings_beyond_the_schema_are_refused(
    copy: Path, forge: Callable[[Path], None], section: str, key: str, value: object
):
    settings = json.loads((copy / "settings.json").read_text())
    settings[section][key] = value
    (copy / "settings.json").write_text(json.dumps(settings))
    forge(copy)
    with pytest.raises(InputError, match=rf"settings\.json.*{section}\.{key}"):
        load_release(copy)


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        (("model_config", "width"), 10**9, "model.width"),
        (("model_config", "tokens"), 10**10, "model.tokens"),
        (("model_config", "width"), 1024, "do not belong together"),
        (("encoder", "feature_dim"), 10**12, "do not belong together"),
        (("target", "classes"), ["a"] * 5, "do not belong together"),
        (("genes",), [], "a model that cannot be loaded"),
        (("own_network",), {"file": "net.py"}, "a user's own network"),
        (("base",), "os.system", "os.system"),
    ],
)
def test_a_description_of_another_network_takes_no_memory_and_is_refused(
    copy: Path, forge: Callable[[Path], None], place: tuple[str, ...], value: object, found: str
):
    path = copy / "models/receptor/teacher/fold-0/model.json"
    record = json.loads(path.read_text())
    part = record
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    path.write_text(json.dumps(record))
    forge(copy)
    with pytest.raises(InputError, match=found):
        load_release(copy).networks("receptor", "teacher")


def test_a_release_names_no_file_of_gene_groups(copy: Path, forge: Callable[[Path], None], tmp_path: Path):
    (tmp_path / "private.csv").write_text("a,b\nTG1,TG2\n")
    path = copy / "models/receptor/teacher/fold-0/model.json"
    settings = {"gene_groups": str(tmp_path / "private.csv")}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": "mcat", "network_settings": settings}))
    forge(copy)
    with pytest.raises(InputError, match="a record holds the groups"):
        load_release(copy).networks("receptor", "teacher")


def test_a_folder_with_something_else_in_it_is_not_overwritten(run: tiny_run.TinyRun, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not a release"):
        export_release(run.results, "student", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_model_that_was_not_trained_is_named(run: tiny_run.TinyRun, tmp_path: Path):
    with pytest.raises(InputError, match="no trained model 'distilled'"):
        export_release(run.results, "distilled", tmp_path / "out")
