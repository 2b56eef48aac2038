"""A worker takes one chunk of a sweep after the other until no cell is missing.

Any number of workers may be at work on one folder; the same command again is a resume.
"""

import functools
import json
import logging
import os
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from nfnets_jax import tasks
from nfnets_jax.sweeps import leases, table
from nfnets_jax.sweeps.plan import Chunk, Plan, digest
from nfnets_jax.sweeps.progress import SweepProgress
from nfnets_jax.training import mapping as mapping_lib
from nfnets_jax.training.mesh import POPULATION
from nfnets_jax.training.population import Mapping
from nfnets_jax.training.population_record import Outcome, Runs
from nfnets_jax.training.population_run import PopulationRunner
from nfnets_jax.training.workdir import write_atomically

logger = logging.getLogger(__name__)


class Settings(NamedTuple):
    """How a worker works.

    Attributes:
      mesh: of the devices of this process.
      mapping: 'auto', or as for `population.map_population`.
      retry: statuses whose cells are run again; 'crashed' alone makes sense.
      lease_seconds: after which a silent worker's chunk is taken over.
      checkpoint_seconds: between saves of a population.
      is_stopping: whether this worker has been told to stop.
      progress: shows how it is going.
    """

    mesh: Mesh
    mapping: Mapping
    retry: tuple[str, ...]
    lease_seconds: float
    checkpoint_seconds: float
    is_stopping: Callable[[], bool]
    progress: SweepProgress


def open_sweep(workdir: Path, plan: Plan) -> None:
    """Makes a folder ready for a sweep, or puts it in order after an interruption.

    Raises:
      OSError: if it cannot be written.
    """
    for folder in ("journal", "curves", "leases"):
        (workdir / folder).mkdir(parents=True, exist_ok=True)
    with leases.exclusive(workdir / ".lock"):
        table.recover(workdir)
        table.write_plan(workdir, plan)


def missing_cells(chunk: Chunk, retry: Sequence[str], rows: dict) -> list[bool]:
    """Which cells of a chunk have yet to be run, where `rows` are those of the table."""
    return [cell.key not in rows or rows[cell.key]["status"] in retry for cell in chunk.cells]


class LeaseLostError(Exception):
    """Another worker has taken over a chunk."""


class Worker:
    """Runs the missing cells of a sweep; see `run`."""

    def __init__(self, workdir: Path, plan: Plan, chunks: Sequence[Chunk], settings: Settings):
        self._workdir, self._plan, self._chunks = workdir, plan, chunks
        self._settings = settings
        self._retried: set[str] = set()
        self._runner: tuple[str, PopulationRunner] | None = None
        # The programs that will be needed next are compiled while the present ones run.
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._prepared: tuple[str, futures.Future] | None = None

    @property
    def is_compiling(self) -> bool:
        """Whether a program is being compiled that will not be needed any more."""
        return self._prepared is not None and not self._prepared[1].done()

    def _note(self, text: str) -> None:
        self._settings.progress.note(text)

    def run(self) -> bool:
        """Runs chunks until none is missing, those of lost workers included.

        Returns:
          Whether the sweep is complete; False if the worker was told to stop.
        """
        waiting = False
        while True:
            if self._settings.is_stopping():
                return False
            claimed = self._claim()
            if claimed is None:
                return True
            if claimed == "wait":
                if not waiting:
                    self._note("the other cells are being run by other workers; waiting")
                waiting = True
                time.sleep(min(1.0, self._settings.lease_seconds / 4))
                continue
            waiting = False
            chunk, active, lease = claimed
            try:
                if not self._run_chunk(chunk, active, lease):
                    return False
            finally:
                with leases.exclusive(self._workdir / ".lock"):
                    lease.release()

    def _claim(self):
        """A chunk with what is missing in it and its lease; 'wait'; or None if all is done."""
        with leases.exclusive(self._workdir / ".lock"):
            table.recover(self._workdir)  # another worker may have been killed meanwhile
            rows = table.read_rows(self._workdir)
            is_missing = False
            for chunk in self._chunks:
                retry = () if chunk.key in self._retried else self._settings.retry
                active = missing_cells(chunk, retry, rows)
                if not any(active):
                    continue
                is_missing = True
                path = self._workdir / "leases" / chunk.key
                lease = leases.acquire(path, self._settings.lease_seconds)
                if lease is not None:
                    self._retried.add(chunk.key)
                    return chunk, active, lease
            if is_missing:
                return "wait"
            if not any(leases.is_live(path, self._settings.lease_seconds)
                       for path in (self._workdir / "leases").iterdir()):
                # What workers that were killed after their last rows left behind.
                shutil.rmtree(self._workdir / "partial", ignore_errors=True)
            return None

    def _run_chunk(self, chunk: Chunk, active: list[bool], lease: leases.Lease) -> bool:
        started = time.perf_counter()
        name = digest([cell.key for cell, a in zip(chunk.cells, active, strict=True) if a])
        # A population is saved by the places of its members.
        partial = self._workdir / "partial" / digest([chunk.key, active, chunk.size])
        log: dict[str, Any] = {"chunk": chunk.key, "program": chunk.program.key,
                               "cells": sum(active)}
        try:
            runner, log["compile_seconds"] = self._get_runner(chunk)
            total = runner.experiment.total_steps
            configs = [cell.config for cell in chunk.cells]
            task = tasks.get(configs[0]["task"])
            runs = Runs([config["seed"] for config in configs],
                        [task.read_hyper(config) for config in configs], active)
            self._prepare_next(chunk, runner.mapping)
            training = time.perf_counter()
            outcomes = runner.run(
                runs, checkpoint_dir=partial,
                checkpoint_seconds=self._settings.checkpoint_seconds,
                is_stopping=self._settings.is_stopping,
                report=functools.partial(self._report, chunk, lease, total))
            log["run_seconds"] = time.perf_counter() - training
            log["member_steps"] = runner.steps_made
        except LeaseLostError:
            self._note("another worker has taken over a chunk of this one, which had been silent "
                       "for too long; it is left to that one")
            return True
        except OSError:  # a full disk, a missing data set: no fault of the cells
            raise
        except Exception as error:
            # Whatever it is, it belongs to these cells, and the others are still to be run.
            logger.exception("A chunk of %d cells crashed.", sum(active))
            reason = traceback.format_exception_only(error)[-1].strip()
            outcomes = [reason] * len(chunk.cells)
        if outcomes is None:
            return False
        with leases.exclusive(self._workdir / ".lock"):
            if not lease.is_held():
                return True  # to another worker, after too long a silence
            rows = self._make_rows(chunk, active, outcomes, name)
            log |= {"worker": f"{socket.gethostname()}:{os.getpid()}",
                    "device": jax.devices()[0].device_kind,
                    "seconds": time.perf_counter() - started}
            table.commit(self._workdir, name, rows, log)
        self._settings.progress.finish(chunk, [row["status"] for row in rows], log["seconds"])
        shutil.rmtree(partial, ignore_errors=True)
        return True

    def _report(self, chunk: Chunk, lease: leases.Lease, total: int, step: int, alive: int) -> None:
        if not lease.is_held():
            raise LeaseLostError
        self._settings.progress.report(chunk, step, total, alive)

    def _make_rows(self, chunk: Chunk, active: list[bool], outcomes: Sequence[Outcome | str],
                   name: str) -> list[table.Row]:
        examples = chunk.cells[0].config.get("batch_size", 0)
        curves = None
        if isinstance(outcomes[0], Outcome):
            curves = table.write_curves(self._workdir, name, {
                cell.key: outcome.curve for cell, outcome, is_active in zip(
                    chunk.cells, outcomes, active, strict=True) if is_active})
        rows = []
        for cell, outcome, is_active in zip(chunk.cells, outcomes, active, strict=True):
            if not is_active:
                continue
            row = table.identify(self._plan, cell, chunk.program.key)
            if isinstance(outcome, str):
                row |= {"status": "crashed", "error": outcome}
            else:
                row |= {"status": outcome.status, "steps": outcome.steps,
                        "examples": outcome.steps * examples,
                        "diverged_at": outcome.diverged_at, **outcome.metrics, "curve": curves}
            rows.append(row)
        return rows

    def _get_runner(self, chunk: Chunk) -> tuple[PopulationRunner, float]:
        """The compiled programs of a chunk, and the seconds spent on compiling them now."""
        if self._runner is not None and self._runner[0] == chunk.program.key:
            return self._runner[1], 0.0
        self._runner = None  # its memory is free for the next one
        make = functools.partial(make_runner, self._chunks, chunk, self._settings.mesh)
        start = time.perf_counter()
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] == chunk.program.key:
            runner = prepared[1].result()
        elif self._settings.mapping == "auto":
            # One worker measures, and all take what it chose, so that their numbers agree.
            with leases.exclusive(self._workdir / ".mapping.lock"):
                chosen = read_mapping(self._workdir)
                runner = make(chosen) if chosen else self._choose_mapping(make, chunk)
            if not mapping_lib.fits(runner):  # it was chosen for a smaller program
                runner = make("map")
        else:
            runner = make(self._settings.mapping)
        self._runner = chunk.program.key, runner
        runner.compile()
        return runner, time.perf_counter() - start

    def _prepare_next(self, chunk: Chunk, mapping: Mapping) -> None:
        """Begins to compile the program of the chunk that this worker would take next."""
        rows = table.read_rows(self._workdir)
        later = self._chunks[self._chunks.index(chunk) + 1:]
        following = next((
            other for other in later if any(missing_cells(other, self._settings.retry, rows))
            and not leases.is_live(self._workdir / "leases" / other.key,
                                   self._settings.lease_seconds)), chunk)
        if following.program.key == chunk.program.key or self._prepared is not None:
            return

        def prepare() -> PopulationRunner:
            runner = make_runner(self._chunks, following, self._settings.mesh, mapping)
            runner.compile()
            return runner

        self._prepared = following.program.key, self._thread.submit(prepare)

    def _choose_mapping(self, make: Callable[[Mapping], PopulationRunner], chunk: Chunk
                        ) -> PopulationRunner:
        per_device = chunk.size // self._settings.mesh.shape[POPULATION]
        runner, times = mapping_lib.choose(make, per_device)
        write_atomically(self._workdir / "mapping.json", json.dumps(
            {"mapping": runner.mapping, "seconds_per_step": times}, indent=2) + "\n")
        shown = ", ".join(f"{name} " + ("does not fit" if seconds is None else
                                        f"{seconds * 1e3:.3g} ms a step")
                          for name, seconds in times.items())
        self._note(
            f"mapping over {chunk.size} members: {runner.mapping} ({shown})")
        return runner


def read_mapping(workdir: Path) -> Mapping | None:
    """The mapping that was chosen for a sweep, or None."""
    file = workdir / "mapping.json"
    return json.loads(file.read_text())["mapping"] if file.exists() else None


def make_runner(chunks: Sequence[Chunk], chunk: Chunk, mesh: Mesh, mapping: Mapping
                ) -> PopulationRunner:
    """The programs of a chunk, not yet compiled.

    Args:
      chunks: all of the sweep; those of one program share its compilation.
      chunk: one of them.
      mesh: of the devices of this process.
      mapping: see `population.map_population`.
    """
    config = chunk.cells[0].config
    num_seeds = max(len({cell.config["seed"] for cell in other.cells})
                    for other in chunks if other.program.key == chunk.program.key)

    return PopulationRunner(
        lambda seed: tasks.create({**config, "seed": seed}), size=chunk.size, num_seeds=num_seeds,
        evaluate_every=config["evaluate_every"], mesh=mesh, mapping=mapping, config=config)
