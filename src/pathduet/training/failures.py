"""Records models that could not be trained or evaluated, so that tables show a gap with the reason.

Only variations, baselines and users' own models may fail this way: a failure of the method itself ends the run, and so
does a fault of the machine (:mod:`pathduet.core.faults`). A failure stays until its inputs or settings change, its folder is removed, or the job is forced (`--force`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathduet.core.checksums import checked
from pathduet.core.files import atomic_path, write_json, write_tsv
from pathduet.results import (
    COST,
    DESCRIPTION,
    HISTORY,
    PREDICTIONS,
    REPRESENTATIONS,
    TRAINING_PREDICTIONS,
    WEIGHTS,
)

_LONGEST = 500
_COLUMNS = ["slide_id", "patient_id", "cohort", "part", "fold"]


def reason_of(error: BaseException) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_LONGEST]


def failure_of(folder: Path) -> str | None:
    """Return why the model of a folder could not be trained; None if it was."""
    try:
        record = json.loads(checked(Path(folder) / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    failed = record.get("failed")
    return None if failed is None else str(failed)


def write_failed_model(folder: Path, who: Mapping[str, Any], reason: str) -> None:
    """Write the files of a failed model: `who` (task as plain values, model, fold) and the reason; no weights, history or predictions."""
    import pandas as pd
    from safetensors.torch import save

    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save({}))
    write_tsv(folder / HISTORY, pd.DataFrame(columns=["epoch"]))
    write_json(folder / COST, {})
    write_no_predictions(folder)
    write_tsv(folder / TRAINING_PREDICTIONS, pd.DataFrame(columns=_COLUMNS))
    write_json(folder / DESCRIPTION, {**who, "failed": reason})


def write_no_predictions(folder: Path) -> None:
    """Write empty tables of predictions and representations."""
    import h5py
    import pandas as pd

    write_tsv(folder / PREDICTIONS, pd.DataFrame(columns=_COLUMNS))
    with atomic_path(folder / REPRESENTATIONS) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("slide_id", data=[], dtype=h5py.string_dtype(), track_times=False)
