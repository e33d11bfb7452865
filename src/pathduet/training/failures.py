"""A model that could not be trained or evaluated, written down so that tables show a hole with its reason.

Only variations, baselines and users' own models may fail this way: what the method itself cannot do ends the run. A
failure stays until its inputs or settings change, its folder is removed, or the job is forced (`--forcerun train`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathduet.core.files import atomic_path, write_json, write_tsv

_LONGEST = 500


def reason_of(error: BaseException) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_LONGEST]


def failure_of(folder: Path) -> str | None:
    """Return why the model of a folder could not be trained; None if it was."""
    try:
        record = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    failed = record.get("failed")
    return None if failed is None else str(failed)


def write_failed_model(folder: Path, who: Mapping[str, Any], reason: str) -> None:
    """Write a model's files without a model: `who` (task, model, fold) and the reason, no weights, no history."""
    import pandas as pd
    from safetensors.torch import save

    with atomic_path(folder / "weights.safetensors") as temporary:
        temporary.write_bytes(save({}))
    write_tsv(folder / "history.tsv", pd.DataFrame(columns=["epoch"]))
    write_json(folder / "cost.json", {})
    write_json(folder / "model.json", {**who, "failed": reason})


def write_failed_evaluation(folder: Path, who: Mapping[str, Any], reason: str) -> None:
    """Write an evaluation's files without predictions."""
    import h5py
    import pandas as pd

    columns = ["slide_id", "patient_id", "cohort", "part", "fold"]
    write_tsv(folder / "predictions.tsv", pd.DataFrame(columns=columns))
    with atomic_path(folder / "representations.h5") as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("slide_id", data=[], dtype=h5py.string_dtype(), track_times=False)
    write_json(folder / "metrics.json", {**who, "failed": reason})
