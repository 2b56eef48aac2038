"""Running a population from its first step to its last, or from where it was interrupted.

    evaluate; until the end or until no member is training: advance, now and then evaluate and save

What a member comes to is told by `population_record`; one that diverges never stops the others.
"""

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from nfnets_jax.analysis import diagnostics
from nfnets_jax.data import prefetch_to_device
from nfnets_jax.tasks.task import Experiment
from nfnets_jax.training.checkpoints import Checkpoints, DamagedCheckpointError, Restored
from nfnets_jax.training.compilation import Compiled, compile_ahead
from nfnets_jax.training.mesh import POPULATION, REPLICATED, SHARDED, make_mesh, sharding
from nfnets_jax.training.population import INPUTS, MEMBERS, Mapping, Member, map_population
from nfnets_jax.training.population_record import Outcome, Record, Runs

# How much of what the steps are made with is on the devices at a time, and of evaluation batches.
LARGEST_INPUT_BYTES = 2**28
LARGEST_KEPT_BYTES = 2**29
# In how many parts a run's curve shows the loss of its steps, beside the evaluations.
CURVE_PARTS = 20
# Of an array that an analysis finds on a member: longer ones are not kept.
LARGEST_ARRAY = 20_000
# Seconds that a block of steps may take before the host has a look, about.
BLOCK_SECONDS = 2.0


class PopulationRunner:
    """The compiled programs of one population, ready to run it again and again.

    Args:
      make_experiment: `seed -> Experiment`; they differ in their batches and in what is measured
        beside them. What a seed changes in `init` itself, such as the images that a calibrated
        norm sees, is that of seed 0.
      size: number of members, a multiple of the mesh axis `'population'`.
      num_seeds: of different seeds among them, at most.
      evaluate_every: steps between evaluations; 0 for the first and the last alone.
      mesh: from `mesh.make_mesh`.
      mapping: see `population.map_population`.
      config: of any member, which says what is analysed on each, at evaluations where that is due;
        None for nothing.
    """

    def __init__(self, make_experiment: Callable[[int], Experiment], *, size: int, num_seeds: int,
                 evaluate_every: int, mesh: Mesh, mapping: Mapping,
                 config: dict[str, Any] | None = None):
        self.experiment = make_experiment(0)
        self._diagnostics = config and diagnostics.create(
            self.experiment, config, make_mesh(devices=mesh.devices.flat[:1]))
        self.mesh, self.size, self.mapping = mesh, size, mapping
        self._make_experiment = functools.lru_cache(maxsize=256)(make_experiment)
        self._num_seeds = num_seeds
        self._interval = evaluate_every or self.experiment.total_steps
        self.programs = map_population(self.experiment, mesh, mapping)
        resident = self.experiment.resident
        self._arrays = jax.device_put(
            () if resident is None else resident.arrays, sharding(mesh, REPLICATED))
        per_step = num_seeds * sum(x.nbytes for x in jax.tree.leaves(self._feed(0, 0).take(1)))
        self._part = -(-self.experiment.total_steps // CURVE_PARTS)
        longest = min(self._interval, self._part)
        self._capacity = max(1, min(longest, LARGEST_INPUT_BYTES // max(1, per_step)))
        self._kept: dict[str, list] = {}
        self.steps_made = 0  # by all members, in the last call of `run`
        self._compiled: Compiled | None = None

    def compile(self) -> Compiled:
        """Compiles the training program, unless that has been done."""
        if self._compiled is None:
            one = jax.eval_shape(self.programs.init, *self._init_arguments(
                Runs([0], [self.experiment.hyper], [True])))
            members = _placed(one, self.mesh, MEMBERS)
            steps = self._feed(0, 0).take(1)
            inputs = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(
                    (self._num_seeds, self._capacity, *x.shape[1:]), x.dtype,
                    sharding=sharding(self.mesh, INPUTS)), steps)
            self._compiled = compile_ahead(
                self.programs.advance, members, inputs, self._arrays, np.int32(0))
        return self._compiled

    def memory_bytes(self) -> int:
        """Memory of each device that the compiled training program takes."""
        analysis = self.compile().call.memory_analysis()
        return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes

    def time_steps(self, seconds: float) -> float:
        """Seconds for one step of the whole population, measured for about so long.

        With a mapping of several members at a time, but not of all, a single group is timed and
        the others are taken to be like it.
        """
        group = self.mapping if isinstance(self.mapping, int) else self.size
        share = self.size // self.mesh.shape[POPULATION]
        groups = max(1, share // group)
        active = [groups == 1 or k % share < group for k in range(self.size)]
        members = self._init(Runs([0] * self.size, [self.experiment.hyper] * self.size, active))
        inputs = self._inputs([self._feed(0, 0)], self._capacity)
        advance, count = self.compile().call, 1
        while True:
            start = time.perf_counter()
            members = jax.block_until_ready(advance(members, inputs, self._arrays, np.int32(count)))
            taken = time.perf_counter() - start
            if taken > seconds / 2 or count == self._capacity:
                return groups * taken / count
            count = min(self._capacity, 1 + int(count * min(100, seconds / max(taken, 1e-6))))

    def run(self, runs: Runs, *, checkpoint_dir: Path | None = None,
            checkpoint_seconds: float = math.inf, is_stopping: Callable[[], bool] = lambda: False,
            report: Callable[[int, int], None] = lambda step, alive: None) -> list[Outcome] | None:
        """Runs a population.

        Args:
          runs: at most `size`.
          checkpoint_dir: where the population is saved, and continued from if it is there.
          checkpoint_seconds: between saves.
          is_stopping: asked after each block of steps; a population that stops is saved.
          report: told the step, and how many members are training.

        Returns:
          What each run has come to, in their order; None if it was told to stop.
        """
        total = self.experiment.total_steps
        advance = self.compile().call
        members, step = self._init(runs), 0
        record = Record(self.experiment, runs)
        checkpoints = None  # opened when it is needed: that takes longer than a small population
        if checkpoint_dir is not None and checkpoint_dir.exists():
            checkpoints, restored = _open_checkpoints(
                checkpoint_dir, _placed(members, self.mesh, MEMBERS))
            if restored is not None:
                members, step = restored
                record.load(checkpoint_dir / f"record_{step}.json")
        if step == 0:
            members = self._evaluate(members, 0, record)
        seeds = sorted(set(runs.seeds))
        feeds = [self._feed(seed, step) for seed in seeds]
        longest, saved = 1, time.perf_counter()
        self.steps_made, alive = 0, sum(runs.active)
        while step < total:
            evaluating = min(total, (step // self._interval + 1) * self._interval)
            until = min(evaluating, (step // self._part + 1) * self._part)
            count = min(longest, self._capacity, until - step)
            start = time.perf_counter()
            members = advance(members, self._inputs(feeds, count), self._arrays, np.int32(count))
            step, self.steps_made = step + count, self.steps_made + count * alive
            alive = int(np.sum(jax.device_get(members.is_training)))
            taken = time.perf_counter() - start
            if step == evaluating or not alive:
                members = self._evaluate(members, step, record)
                alive = int(np.sum(jax.device_get(members.is_training)))
            elif step == until:
                record.add_running_loss(*jax.device_get(
                    (members.is_training, members.loss_sum, members.run.step)))
                members = members._replace(loss_sum=self._zeros())
            report(step, alive)
            if not alive:
                break
            stopping = step < total and is_stopping()
            if checkpoint_dir is not None and step < total and (
                    stopping or time.perf_counter() - saved > checkpoint_seconds):
                checkpoints = checkpoints or Checkpoints(checkpoint_dir, keep=1)
                record.save(checkpoint_dir / f"record_{step}.json")
                checkpoints.save(step, members)
                checkpoints.wait()
                for file in checkpoint_dir.glob("record_*.json"):
                    if int(file.stem.removeprefix("record_")) not in checkpoints.steps():
                        file.unlink()
                saved = time.perf_counter()
            if stopping:
                return None
            if taken < BLOCK_SECONDS / 2 and count == longest:
                longest *= 4
            elif taken > 2 * BLOCK_SECONDS:
                longest = max(1, count // 2)
        if checkpoints is not None:
            checkpoints.close()
        return record.outcomes()

    def _init_arguments(self, runs: Runs):
        fill = self.size - len(runs.seeds)
        seeds = [*runs.seeds, *[runs.seeds[0]] * fill]
        rows = [*runs.hyper, *[runs.hyper[0]] * fill]
        index = {seed: i for i, seed in enumerate(sorted(set(runs.seeds)))}
        hyper = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
        active = np.array([*runs.active, *[False] * fill])
        return (np.array(seeds, np.uint32), hyper,
                np.array([index[seed] for seed in seeds], np.int32), active)

    def _init(self, runs: Runs) -> Member:
        members = self.programs.init(*self._init_arguments(runs))
        prepare = self.experiment.prepare
        if prepare is None:
            return members
        states = jax.device_get(members.run.task)
        prepared = [prepare(jax.tree.map(lambda x, k=k: x[k], states)) for k in range(self.size)]
        stacked = jax.tree.map(lambda *x: np.stack(x), *prepared)
        return members._replace(run=members.run._replace(
            task=jax.device_put(stacked, sharding(self.mesh, MEMBERS))))

    def _feed(self, seed: int, step: int) -> "Feed":
        return Feed(self.experiment if self.experiment.resident else self._make_experiment(seed),
                    seed, step)

    def _inputs(self, feeds: Sequence["Feed"], count: int) -> Any:
        """The next steps' rows of all seeds, filled up to the compiled shape, on the devices."""
        def fill(*rows):
            block = np.zeros((self._num_seeds, self._capacity, *rows[0].shape[1:]), rows[0].dtype)
            for i, row in enumerate(rows):
                block[i, : len(row)] = row
            return block

        blocks = jax.tree.map(fill, *[feed.take(count) for feed in feeds])
        return jax.device_put(blocks, sharding(self.mesh, INPUTS))

    def _evaluate(self, members: Member, step: int, record: "Record") -> Member:
        """Evaluates all splits; members that turn out to have diverged are marked."""
        metrics = {}
        for role, split in (self.experiment.splits or {
                "test": self.experiment.evaluation_split}).items():
            sums = [jax.device_get(self.programs.evaluate(members, batch))
                    for batch in self._evaluation_batches(split)]
            totals = {name: sum(np.asarray(s[name], np.float64) for s in sums) for name in sums[0]}
            count = totals.pop("count")
            means = {name: value / count for name, value in totals.items()}
            if self.experiment.measure is not None:
                means = self._measure(members, means, count, split)
            metrics |= {f"{role}_{name}": value for name, value in means.items()}
        if self._diagnostics and self._diagnostics.is_due(
                step, self.experiment.total_steps):
            metrics |= self._analyse(members, step)
        fetched = jax.device_get((members.is_training, members.loss_sum, members.run.step))
        finite = jax.device_get(self.programs.check(members))
        healthy, initial_loss = record.add(step, metrics, *fetched, finite)
        placed = jax.device_put(
            (healthy, initial_loss.astype(np.float32)), sharding(self.mesh, MEMBERS))
        return members._replace(
            is_training=placed[0], initial_loss=placed[1], loss_sum=self._zeros())

    def _zeros(self) -> jax.Array:
        return jax.device_put(np.zeros(self.size, np.float32), sharding(self.mesh, MEMBERS))

    def _analyse(self, members: Member, step: int) -> dict[str, np.ndarray]:
        """What the analysis finds on each member; NaN for those that do not train."""
        states, training, seeds = jax.device_get(
            (members.run.task, members.is_training, members.run.seed))
        found: dict[str, np.ndarray] = {}
        for k in np.flatnonzero(training):
            findings = self._diagnostics.measure(
                jax.tree.map(lambda x, k=k: x[k], states), int(seeds[k]), step)
            arrays = {name: array for name, array in findings.arrays.items()
                      if array.size <= LARGEST_ARRAY}
            for name, value in {**findings.values, **arrays}.items():
                column = found.setdefault(name, np.full((self.size, *np.shape(value)), np.nan))
                column[k] = value
        return found

    def _measure(self, members: Member, means: dict, count, split: str) -> dict:
        """The means and what the task measures beside them; NaN for members that do not train."""
        states, training, seeds = jax.device_get(
            (members.run.task, members.is_training, members.run.seed))
        rows, mesh = [], make_mesh()
        for k in np.flatnonzero(training):
            own = {name: float(value[k]) for name, value in means.items()}
            measure = self._make_experiment(int(seeds[k])).measure
            state = jax.tree.map(lambda x, k=k: x[k], states)
            measured = measure(state, {**own, "count": int(count[k])}, split, mesh)
            rows.append({**own, **measured.metrics})
        values = {name: np.full(self.size, np.nan) for name in (rows[0] if rows else means)}
        for name, column in values.items():
            column[np.flatnonzero(training)] = [row[name] for row in rows]
        return values

    def _evaluation_batches(self, split: str) -> Iterator:
        if split in self._kept:
            yield from self._kept[split]
            return
        kept, size = [], 0
        for batch in prefetch_to_device(
                iter(self.experiment.evaluation_batches(split)), sharding(self.mesh, SHARDED)):
            yield batch
            size += sum(x.nbytes for x in jax.tree.leaves(batch))
            if size <= LARGEST_KEPT_BYTES:
                kept.append(batch)
        if size <= LARGEST_KEPT_BYTES:
            self._kept[split] = kept


class Feed:
    """What the steps of one seed are made with, in order."""

    def __init__(self, experiment: Experiment, seed: int, step: int):
        self._resident, self._seed, self._step = experiment.resident, seed, step
        if self._resident is None:
            self._batches = experiment.train_batches(step)

    def take(self, count: int) -> Any:
        """A tree of arrays [count, batch, ...]: batches, or what is drawn from resident data."""
        start, self._step = self._step, self._step + count
        if self._resident is not None:
            return self._resident.draw(self._seed, start, self._step)
        return jax.tree.map(lambda *x: np.stack(x), *[next(self._batches) for _ in range(count)])


def _open_checkpoints(directory: Path, like: Any) -> tuple[Checkpoints, Restored | None]:
    """The checkpoints of a population; if none of them can be read, it begins afresh."""
    checkpoints = Checkpoints(directory, keep=1)
    try:
        return checkpoints, checkpoints.restore_latest(like)
    except DamagedCheckpointError:
        checkpoints.close()
        shutil.rmtree(directory)
        return Checkpoints(directory, keep=1), None


def _placed(tree: Any, mesh: Mesh, spec) -> Any:
    placement = sharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree)
