"""The methods that the study compares, as fields of a classification config.

Float weights (with ADAM), BinaryConnect (BC), stochastic rounding (SR) with small and with large
batches, deterministic rounding (R). All of them take ADAM's steps, whose moments are float.
"""

from collections.abc import Mapping, Sequence
from typing import Any

METHOD, BATCH = "quantization.method", "batch_size"

# Name -> what tables call it; in the order in which their errors are expected to grow.
LABELS = {"float": "float", "binary_connect": "BC", "big_stochastic": "SR, large batches",
          "stochastic": "SR", "deterministic": "R"}


def rows(batch_size: int, big_batch_size: int, names: Sequence[str] = tuple(LABELS)
         ) -> list[dict[str, Any]]:
    """What a sweep overrides for each method.

    Args:
      batch_size: of all methods but one.
      big_batch_size: of `big_stochastic`.
      names: keys of `LABELS`.
    """
    methods = {"float": "none", "big_stochastic": "stochastic"}
    return [{METHOD: methods.get(name, name),
             BATCH: big_batch_size if name == "big_stochastic" else batch_size} for name in names]


def identify(row: Mapping[str, Any], batch_size: int) -> str:
    """The name of the method of a run, a row of a sweep's table.

    Args:
      row: of a sweep that varies the method and the batch size.
      batch_size: of all methods but `big_stochastic`.
    """
    if row[METHOD] == "none":
        return "float"
    is_big = row[METHOD] == "stochastic" and row[BATCH] != batch_size
    return "big_stochastic" if is_big else row[METHOD]
