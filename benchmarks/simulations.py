"""Norm change and citation growth beside other packages, and how their cost grows.

    python -m benchmarks.simulations [--json] [--plot=FILE.png]

README.md says what each row is, and has the last table.
"""

import argparse
import json
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import simulation_peers as peers
from benchmarks import timing
from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.citations import arrivals, growth, trajectories
from nfnets_jax.training import loop

REPLICAS, GENERATIONS = 64, 100
SIZES = {"replicas": (1, 4, 16, 64, 256), "agents": (25**2, 50**2, 100**2, 200**2, 400**2),
         "papers": (10_000, 30_000, 100_000, 300_000, 1_000_000)}


def seconds(function) -> float:
    """Of one call, whose result is awaited."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def best(function, rounds: int = 3) -> tuple[float, float]:
    """Seconds of the fastest call, and of the first, which compiles."""
    first = seconds(function)
    return min(seconds(function) for _ in range(rounds)), first


def norm_change(side: int, replicas: int, generations: int, rounds: int = 3) -> dict:
    """Updates a second of the task, 'frozen' in random order, and seconds until it is compiled."""
    config = config_lib.default_config("norm_change")
    config.update(num_replicas=replicas, num_generations=generations,
                  shock_generation=generations // 2)
    config["graph"].update(height=side, width=side)
    experiment = tasks.create(config_lib.check_config(config, 1))
    programs = loop.run_functions(experiment.task)
    state = jax.jit(programs.init)(0, experiment.hyper)
    run = jax.jit(lambda state: jax.lax.scan(
        lambda state, _: programs.step(state, ()), state, length=generations)[0])
    taken, first = best(lambda: run(state), rounds)
    return dict(updates=side**2 * replicas * generations / taken, seconds=taken,
                compile=first - taken, gib=timing.peak_memory() / 2**10)


def grow(papers: int, model: str, rounds: int = 1, **options) -> dict:
    """Seconds and memory of a network with 10 references for each paper, compiling left out."""
    incoming = arrivals.constant(papers, peers.REFERENCES, num_seeds=peers.REFERENCES + 1)
    network = growth.create_growth(incoming, model, **options)
    run = jax.jit(lambda seed: growth.run(network, jax.random.key(seed), hyper))
    hyper = {**growth.HYPER, "attractiveness": 1.0}
    taken, first = best(lambda: run(np.uint32(0)), rounds)
    return dict(seconds=taken, compile=first - taken, gib=timing.peak_memory() / 2**10)


def classify(papers: int = 1_000_000, years: int = 40) -> dict:
    """Seconds for the categories of random histories."""
    counts = jnp.asarray(np.random.default_rng(0).poisson(1.5, (papers, years)).astype(np.int32))
    taken, first = best(lambda: trajectories.classify(counts))
    return dict(seconds=taken, compile=first - taken, gib=timing.peak_memory() / 2**10)


# Each is a program of its own, for its memory.
ALONE = {
    "norm_change": lambda: norm_change(peers.SIDE, REPLICAS, GENERATIONS),
    "lattice": lambda: norm_change(1000, 1, 20, rounds=1),
    "ba": lambda: grow(peers.PAPERS, "ba", rounds=3, sampler="with_replacement",
                       papers_per_step=peers.PAPERS),
    "multiplicative": lambda: grow(100_000, "multiplicative", sampler="block_synchronous",
                                   papers_per_step=500),
    "lbm_g": lambda: grow(100_000, "lbm_g"),
    "classifier": classify,
}
ONE_CORE = ("norm_change",)  # as their peers


def measure_alone(name: str) -> dict:
    """What a program of its own measured."""
    return json.loads(timing.run_python("-m", "benchmarks.simulations", f"--alone={name}"))


def measure_peer(name: str) -> float | None:
    """What a peer's program printed; None where it is not installed."""
    try:
        return float(timing.run_python("-m", "benchmarks.simulation_peers", name))
    except RuntimeError as error:
        if "ModuleNotFoundError" not in str(error):
            raise
        print(f"{name} is not installed: pip install -e .[peers]")
        return None


def measure_scaling() -> dict[str, list[float]]:
    """Seconds for each of `SIZES`: of 100 generations, and of a network."""
    return {
        "replicas": [norm_change(peers.SIDE, n, GENERATIONS, 2)["seconds"]
                     for n in SIZES["replicas"]],
        "agents": [norm_change(math.isqrt(n), 4, 20, 2)["seconds"] for n in SIZES["agents"]],
        "papers": [grow(n, "ba", 2, sampler="with_replacement", papers_per_step=n)["seconds"]
                   for n in SIZES["papers"]],
    }


def exponent(sizes, times) -> float:
    """Slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def measure(plot: str | None = None) -> dict[str, tuple[float, str]]:
    """The rows of the table: name -> value and remark."""
    ours = {name: measure_alone(name) for name in ALONE}
    rows = {}
    for name in ("mesa", "egttools"):
        theirs = measure_peer(name)
        if theirs is not None:
            rows[f"norm_change_vs_{name}"] = (
                ours["norm_change"]["updates"] / theirs,
                f"{ours['norm_change']['updates']:.3g} and {theirs:.3g} updates/s, one core each")
    for name in ("igraph", "networkit"):
        theirs = measure_peer(name)
        if theirs is not None:
            rows[f"citation_ba_vs_{name}"] = (
                theirs / ours["ba"]["seconds"],
                f"{theirs:.2f} s and {ours['ba']['seconds']:.2f} s, {ours['ba']['gib']:.2f} GiB")
    for name, what in (("multiplicative", "1e5 papers, blocks of 500"),
                       ("lbm_g", "1e5 papers, exact"), ("classifier", "1e6 papers, 40 years")):
        found = ours[name]
        rows[f"{name}_seconds"] = (found["seconds"], f"{what}; {found['gib']:.2f} GiB, compiling "
                                   f"{found['compile']:.1f} s")
    lattice = ours["lattice"]
    rows["lattice_gib"] = (lattice["gib"], "1,000 x 1,000 agents, one replica, "
                           f"{lattice['updates']:.3g} updates/s")
    rows["lattice_compile_seconds"] = (lattice["compile"], "of the same program")
    scaling = measure_scaling()
    for name, times in scaling.items():
        rows[f"exponent_{name}"] = (exponent(SIZES[name], times), "; ".join(
            f"{size:g}: {taken:.2g} s" for size, taken in zip(SIZES[name], times, strict=True)))
    if plot:
        draw(scaling, plot)
    return rows


def draw(scaling: dict[str, list[float]], path: str) -> None:
    """Seconds over size, doubly logarithmic, with the fitted exponents."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    labels = {"replicas": "replicas of 50 x 50 agents, 100 generations",
              "agents": "agents on a torus, 4 replicas, 20 generations",
              "papers": "papers with 10 references each"}
    for axes, (name, times) in zip(figure.subplots(1, 3), scaling.items(), strict=True):
        sizes = np.array(SIZES[name])
        slope, start = np.polyfit(np.log(sizes), np.log(times), 1)
        axes.loglog(sizes, times, "o", color="C0")
        axes.loglog(sizes, np.exp(start) * sizes**slope, color="0.6",
                    label=f"exponent {slope:.2f}")
        axes.set(xlabel=labels[name], ylabel="seconds")
        axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Runs the benchmark; the arguments are above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--plot", help="where to draw how the cost grows")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        if args.alone in ONE_CORE:
            peers.use_one_core()
        print(json.dumps(ALONE[args.alone]()))
    else:
        timing.report("simulations", measure(args.plot), args.json)


if __name__ == "__main__":
    main()
