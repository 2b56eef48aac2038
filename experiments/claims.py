"""Checks what the studies claim, each claim with its tolerance.

    python -m experiments.claims            # all studies; `make claims`
    python -m experiments.claims digits     # one; `make claims STUDY=digits`

Prints one row for each claim and exits with status 1 if one does not hold. A study's claims are the
rows that `claims()` in its `experiments/STUDY/claims.py` yields.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.sweeps import plan as plan_lib
from nfnets_jax.sweeps import progress, table, worker
from nfnets_jax.training import compilation, loop, mesh, preemption, workdir
from nfnets_jax.training.mapping import GROUP


class Claim(NamedTuple):
    """One row.

    Attributes:
      claim: what is claimed.
      expected: the number or range, with its provenance where it is not our own.
      measured: what came out.
      holds: whether it is within the tolerance.
    """

    claim: str
    expected: str
    measured: str
    holds: bool


def train(config: config_dict.ConfigDict) -> dict[str, float]:
    """Trains a config in a temporary folder, on one device, and returns its last evaluation."""
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    checked = config_lib.check_config(config, grid.devices.size)
    with tempfile.TemporaryDirectory() as directory:
        lock = workdir.open_workdir(directory, checked)
        with preemption.StopRequest() as stop:
            result = loop.train(tasks.create(checked), checked, directory, grid, stop)
        os.close(lock)
    if result.stopped_by:
        sys.exit(130)
    return result.metrics


def run_sweep(config: config_dict.ConfigDict, overrides: Iterable[Mapping[str, Any]],
              mapping: str | int = "auto") -> table.Table:
    """Runs a sweep in a temporary folder, its members spread over all devices.

    Args:
      config: what the overrides change.
      overrides: as a config's `get_sweep()` returns them.
      mapping: as for `python -m nfnets_jax.sweep --mapping`.

    Returns:
      The table. The folder is gone with its curves: each row's `curve` holds its evaluations.
    """
    plan = plan_lib.make_plan(config, overrides)
    grid = mesh.make_mesh(len(jax.devices()))
    # Populations of less than a group on each device are not filled up to whole groups.
    most = max(len(program.cells) for program in plan.programs)
    chunks = plan_lib.make_chunks(
        plan, 256, grid.size if most <= GROUP * grid.size else GROUP * grid.size)
    with tempfile.TemporaryDirectory() as name, preemption.StopRequest() as stop:
        directory = Path(name)
        worker.open_sweep(directory, plan)
        with progress.SweepProgress(plan, len(plan.cells)) as shown:
            settings = worker.Settings(
                mesh=grid, mapping=mapping, retry=(), lease_seconds=60.0,
                checkpoint_seconds=float("inf"), is_stopping=lambda: stop.signal is not None,
                progress=shown)
            if not worker.Worker(directory, plan, chunks, settings).run():
                sys.exit(130)
        found = table.load(directory)
        for row in found.rows:
            row["curve"] = table.load_curve(directory, row)
        return found


def main() -> int:
    """Runs the claims of the studies named on the command line, or of all; returns the status."""
    studies = sys.argv[1:] or sorted(
        file.parent.name for file in Path(__file__).parent.glob("*/claims.py"))
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    compilation.enable_compilation_cache()
    rows = []
    for study in studies:
        try:
            module = importlib.import_module(f"experiments.{study}.claims")
        except ModuleNotFoundError as error:
            print(f"error: study {study!r} has no claims ({error})", file=sys.stderr)
            return 2
        rows += [(study, claim) for claim in module.claims()]
    print("\n| study | claim | expected | measured | verdict |\n|---|---|---|---|---|")
    for study, row in rows:
        verdict = "holds" if row.holds else "MISSED"
        print(f"| {study} | {row.claim} | {row.expected} | {row.measured} | {verdict} |")
    return 0 if all(row.holds for _, row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
