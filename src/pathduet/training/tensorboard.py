"""Training curves for TensorBoard: every row of the history as scalars, one step an epoch.

The history is the source. A training that goes on from a checkpoint writes its earlier epochs again into a new
file, in place of the interrupted run's: no step stands twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pathduet.core.errors import InputError, Problem


def require_tensorboard() -> None:
    """Raise InputError unless the optional package is installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        problem = Problem(
            "training.tensorboard",
            "the package tensorboard is not installed",
            "pip install 'pathduet[tensorboard]', or set it to false",
        )
        raise InputError([problem]) from None


class ScalarWriter:
    """Event files of one training.

    Parameters
    ----------
    folder : Path
        Where they go; event files of an earlier run in it are removed.
    history : sequence of mapping
        Epochs that were trained before, as ``history.tsv`` has them.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, float]] = ()) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        for row in history:
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Write one epoch's row and make it visible."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
