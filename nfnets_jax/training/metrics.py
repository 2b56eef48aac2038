"""What a run writes down: one JSON line for each record, and TensorBoard event files.

The JSON lines are the truth; they survive interruptions, because a resumed run first drops the
lines past the step it continues from.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorboardX

from nfnets_jax.training.workdir import write_atomically


class MetricsWriter:
    """Appends records to `workdir/metrics.jsonl` and `workdir/tensorboard/`.

    Args:
      workdir: of the run; exists.
      resume_step: records with a larger step are dropped, as is a line that was cut off.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int = 0):
        path = Path(workdir) / "metrics.jsonl"
        if path.exists():
            kept = [r for r in read_metrics(path) if r["step"] <= resume_step]
            write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a", buffering=1)
        self._board = tensorboardX.SummaryWriter(
            str(Path(workdir) / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes one record: `{"step": 100, "kind": "train", "loss": 1.2, ...}`.

        Raises:
          OSError: if the disk is full; says what to do.
        """
        try:
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)
            self._board.flush()
        except OSError as error:
            raise OSError(
                f"the metrics of step {step} could not be written to {self._file.name} "
                f"({error.strerror}). Free some space and run the same command again: it continues "
                "from the last checkpoint.") from error

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._board.close()


class NoWriter:
    """Stands in for `MetricsWriter` on the processes that do not write."""

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a metrics file, in order; a last line that was cut off is left out."""
    records = []
    for line in Path(path).read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


def mean_of(records: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Averages dicts with the same keys, entry by entry."""
    records = list(records)
    return {key: sum(float(r[key]) for r in records) / len(records) for key in records[0]}
