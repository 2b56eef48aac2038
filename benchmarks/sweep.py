"""What a sweep costs as populations, beside the same runs in other ways.

    python -m benchmarks.sweep [--json] [--only=speed,resume,mapping]

The sweep is experiments/sgd_noise/digits.py: 880 runs of 20 epochs, 8 batch sizes, 11 learning
rates, 10 seeds. It is run whole, as a user would start it, with an empty compilation cache.

`vs_process_per_run`: its runs an hour over those of `python -m nfnets_jax.train`, a process for
each run and two at a time, with everything compiled before; one run of each batch size is timed.
`vs_sequential_loop`: its runs an hour over those of a loop over one compiled step whose
hyper-parameters are traced, in this process. Two runs of each batch size are timed before and after
the sweep. Both have been compiled before: the sweep runs for the second time, in a new folder, with
what it compiled in the cache. `vs_sequential_with_compiling`: the first time, and the loops with
their compiling.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import timing
from experiments.sgd_noise import digits
from nfnets_jax import sweeps, tasks
from nfnets_jax.config import default_config
from nfnets_jax.sweeps import plan, table, worker
from nfnets_jax.sweeps.progress import SweepProgress
from nfnets_jax.training import compilation, loop, mapping, mesh

CONFIG = "experiments/sgd_noise/digits.py"
RATE, SEEDS = 0.125, (0, 1)


def run_whole(data_dir: str) -> tuple[float, list[dict]]:
    """Seconds of the program from its start to its end, and its log."""
    with tempfile.TemporaryDirectory() as path:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "nfnets_jax.sweep", f"--config={CONFIG}",
             f"--workdir={path}/sweep", f"--config.dataset.data_dir={data_dir}"],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{path}/cache"}, check=True,
            capture_output=True, text=True)
        seconds = time.perf_counter() - start
        print(done.stdout, file=sys.stderr)
        return seconds, table.read_log(Path(path) / "sweep")


def run_as_population(config, overrides, directory: Path, how="auto") -> float:
    """Seconds of a sweep in this process, from the plan to the last row."""
    start = time.perf_counter()
    swept = plan.make_plan(config, overrides)
    worker.open_sweep(directory, swept)
    devices = mesh.make_mesh(jax.device_count())
    chunks = plan.make_chunks(swept, 256, mapping.GROUP * jax.device_count())
    with contextlib.redirect_stdout(io.StringIO()):
        settings = worker.Settings(devices, how, (), 60.0, 300.0, lambda: False,
                                   SweepProgress(swept, len(swept.cells)))
        worker.Worker(directory, swept, chunks, settings).run()
    return time.perf_counter() - start


class Sequential:
    """One compiled step of the training loop, with traced hyper-parameters, called again and again.

    Each batch is a gather from arrays in memory, by ids that were drawn before.
    """

    def __init__(self, config: dict):
        start = time.perf_counter()
        self._experiment = tasks.create(config)
        self._devices = mesh.make_mesh(devices=jax.devices()[:1])
        self._programs = loop.map_task(self._experiment.task, self._devices)
        resident = self._experiment.resident
        self._drawn = {seed: resident.draw(seed, 0, self._experiment.total_steps)
                       for seed in SEEDS}
        first = self._get_batch(0, 0)
        state = loop.initialize(self._programs, self._experiment, 0)
        self._step = compilation.compile_ahead(self._programs.step, state, first).call
        self._evaluation = [
            jax.device_put(batch, mesh.sharding(self._devices, mesh.SHARDED))
            for batch in self._experiment.evaluation_batches(self._experiment.evaluation_split)]
        self.run(0, RATE)
        self.compile_seconds = time.perf_counter() - start

    def _get_batch(self, seed: int, step: int) -> dict:
        resident = self._experiment.resident
        return resident.batch(resident.arrays, {k: v[step] for k, v in self._drawn[seed].items()})

    def run(self, seed: int, rate: float) -> float:
        """Seconds of one run, with an evaluation at its end."""
        start = time.perf_counter()
        hyper = {**self._experiment.hyper, "learning_rate": rate}
        state = loop.initialize(
            self._programs, self._experiment._replace(hyper=hyper), seed)
        for k in range(self._experiment.total_steps):
            state, metrics = self._step(state, self._get_batch(seed, k))
            if k % 64 == 0:  # not too far ahead of the device
                jax.block_until_ready(metrics)
        jax.device_get([self._programs.evaluate(state, batch) for batch in self._evaluation])
        return time.perf_counter() - start


def run_alone(batch_sizes, data_dir: str, cache: str) -> float:
    """Seconds of one run of each batch size, a process each, two at a time; compiled before."""
    def start(path, size, seed):
        return subprocess.Popen(
            [sys.executable, "-m", "nfnets_jax.train", f"--config={CONFIG}",
             f"--workdir={path}/{size}_{seed}", f"--config.batch_size={size}",
             f"--config.seed={seed}", f"--config.optimizer.learning_rate={RATE}",
             f"--config.dataset.data_dir={data_dir}"],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as path:
        for seed in (0, 1):  # the first time compiles
            begun, waiting, running = time.perf_counter(), list(batch_sizes), []
            while waiting or running:
                running = [process for process in running if process.poll() is None]
                while waiting and len(running) < 2:
                    running.append(start(path, waiting.pop(), seed))
                time.sleep(0.01)
        return time.perf_counter() - begun


def measure_speed(data_dir: str) -> dict:
    """Rows of the 880 runs."""
    config, overrides = digits.get_config(), digits.get_sweep()
    config.dataset.data_dir = data_dir
    sizes = sorted({row["batch_size"] for row in overrides})
    per_size = len(overrides) / len(sizes)
    whole_seconds, log = run_whole(data_dir)
    accounted = sum(entry["compile_seconds"] + entry["run_seconds"] for entry in log)
    chunks = sum(entry["seconds"] for entry in log)

    swept, population_log = plan.make_plan(config, overrides), []
    first = {cell.config["batch_size"]: cell.config for cell in swept.cells}
    loops = {size: Sequential(first[size]) for size in sizes}

    def sequential() -> float:
        return sum(per_size * np.mean([loops[size].run(seed, RATE) for seed in SEEDS])
                   for size in sizes)

    around = [sequential()]
    population, how = [], "auto"
    for _ in range(2):
        with tempfile.TemporaryDirectory() as path:
            population.append(run_as_population(config, overrides, Path(path), how))
            population_log = population_log or table.read_log(Path(path))
            how = how if how != "auto" else worker.read_mapping(Path(path))
    around.append(sequential())
    loop_seconds = np.mean(around)
    compiling = sum(one.compile_seconds for one in loops.values())
    with tempfile.TemporaryDirectory() as cache:
        alone = run_alone(sizes, data_dir, cache) * per_size
    compiled = sum(1 for entry in population_log if entry["compile_seconds"] > 0)
    return {
        "seconds_880_runs": (whole_seconds, "wanted <= 60; start-up and compiling included"),
        "vs_process_per_run": (alone / whole_seconds,
                               f"wanted >= 20; {alone:.0f} s for a process each, two at a time"),
        "vs_sequential_loop": (loop_seconds / population[1],
                               f"wanted >= 5; {around[0]:.0f} and {around[1]:.0f} s / "
                               f"{population[1]:.1f} s"),
        "vs_sequential_with_compiling": ((loop_seconds + compiling) / population[0],
                                         f"{loop_seconds + compiling:.0f} s / "
                                         f"{population[0]:.1f} s"),
        "compiled_programs": (compiled, f"one for each of {len(sizes)} batch sizes; the first one "
                              "in each mapping that was tried"),
        "bookkeeping_share": (1 - accounted / chunks,
                              "wanted < 0.05; of the chunks' time, outside compiling and running"),
    }


def measure_resume() -> dict:
    """The row of a finished sweep of 1,000 cells."""
    config = default_config("noisy_quadratic")
    config.num_dimensions, config.num_steps = 4, 10
    overrides = sweeps.product({"optimizer.learning_rate": sweeps.powers(2, -9, 0)},
                               {"optimizer.momentum": (0.0, 0.9)}, {"seed": range(50)})
    with tempfile.TemporaryDirectory() as path:
        run_as_population(config, overrides, Path(path))
        seconds = run_as_population(config, overrides, Path(path))
    return {"resume_1000_seconds": (seconds, f"wanted < 3; {len(overrides)} cells, all there")}


def measure_mapping(data_dir: str) -> dict:
    """Rows of the time of a step under each mapping: of an MLP, and of a small residual network."""
    rows, size = {}, 4 * mapping.GROUP * jax.device_count()
    for name in ("mlp", "nf_resnet_digits"):
        config = default_config("classification")
        config.network.name = name
        config.dataset.data_dir = data_dir
        config.batch_size, config.evaluation_batch_size, config.num_steps = 32, 360, 1000
        config.schedule.warmup_epochs = 0.0
        swept = plan.make_plan(config, [{"seed": seed} for seed in range(size)])
        chunks = plan.make_chunks(swept, size)
        for how in ("map", mapping.GROUP, "vmap"):
            if how == "vmap" and name != "mlp":
                continue  # one step takes minutes
            runner = worker.make_runner(chunks, chunks[0], mesh.make_mesh(jax.device_count()), how)
            rows[f"{name}_{how}"] = (
                1e3 * runner.time_steps(0.5), f"ms for a step of {size} members, batch 32")
    return rows


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="speed,resume,mapping")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    rows = {}
    with tempfile.TemporaryDirectory() as data_dir, tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        compilation.enable_compilation_cache()
        if "speed" in arguments.only:
            rows |= measure_speed(data_dir)
        if "resume" in arguments.only:
            rows |= measure_resume()
        if "mapping" in arguments.only:
            rows |= measure_mapping(data_dir)
    timing.report("A sweep of 880 runs", rows, arguments.json)


if __name__ == "__main__":
    main()
