"""Choosing how a population is mapped over its members, by measurement.

On CPUs fully connected networks are fastest in groups of a few members, because one small product
after the other is mostly overhead and all at once leave the caches; convolutional ones one at a
time, because XLA's CPU compiler makes grouped convolutions of a group
(`python -m benchmarks.sweep --only=mapping`). On accelerators nothing was measured.
"""

import os
from collections.abc import Callable

import jax

from nfnets_jax.training.population import Mapping
from nfnets_jax.training.population_run import PopulationRunner

# Members that are vmapped together, between one at a time and all.
GROUP = 8
# Share of the memory that a population may take.
MEMORY_SHARE = 0.6
# For about so long each candidate is timed.
SECONDS = 0.1


def candidates(members_per_device: int) -> list[Mapping]:
    """The mappings that are tried: one at a time, in groups, all at once."""
    if members_per_device == 1:
        return ["map"]
    groups = [GROUP] if members_per_device > GROUP else []
    return ["map", *groups, "vmap"]


def choose(
    make_runner: Callable[[Mapping], PopulationRunner], members_per_device: int
) -> tuple[PopulationRunner, dict[str, float | None]]:
    """Times a few steps of each candidate that fits into memory.

    Args:
      make_runner: `mapping -> runner`.
      members_per_device: of the population.

    Returns:
      The runner with the fastest mapping; and for each candidate that was tried, in words, the
      seconds of a step of the whole population, or None where it would not fit.

    Raises:
      MemoryError: if not even one member at a time fits.
    """
    times: dict[str, float | None] = {}
    best: tuple[float, PopulationRunner] | None = None
    for mapping in candidates(members_per_device):
        runner = make_runner(mapping)
        name = str(mapping)
        times[name] = None
        if not fits(runner):
            break  # the next one takes more
        times[name] = runner.time_steps(SECONDS)
        if best is not None and times[name] > 2 * best[0]:
            break  # more at a time will not help, and one step of it may take minutes
        if best is None or times[name] < best[0]:
            best = times[name], runner
    if best is None:
        raise MemoryError(
            f"a population of {members_per_device} members on each device does not fit into "
            f"{device_memory_bytes() / 2**30:.1f} GiB; use fewer with --members")
    return best[1], times


def fits(runner: PopulationRunner) -> bool:
    """Whether a population has room on its devices."""
    return runner.memory_bytes() <= MEMORY_SHARE * device_memory_bytes()


def device_memory_bytes() -> float:
    """Memory of one device: its own limit, or on CPUs its share of what the machine has."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total / jax.local_device_count()
