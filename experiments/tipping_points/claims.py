"""What the study of tipping points claims beyond the unit tests: a grid, and large populations.

Expectations are from another program with the same reconstructed rule. None is a number of arXiv
1804.07406, of which only the abstract could be read. Closed forms, fixation and passes beside a
literal loop are in tests/games.
"""

from collections.abc import Iterator

import numpy as np

from experiments.claims import Claim, run_sweep
from experiments.tipping_points import grid, well_mixed
from nfnets_jax.sweeps.table import Table

BANDS = {0.0: (6.5, 8.0), 0.4: (10.5, 13.5), 0.6: (25.0, 34.0)}
SEQUENTIAL = {0.0: 6.0, 0.2: 7.7, 0.4: 11.3, 0.6: 23.3, 0.7: 47.3, 0.8: 116.0}


def claims() -> Iterator[Claim]:
    """All claims of the study, in about a minute on two CPU cores."""
    yield from large_populations()
    for variant, check in (("synchronous", synchronous), ("random_sequential", sequential)):
        yield from check(run_sweep(grid.get_config(variant), grid.get_sweep()))


def large_populations() -> Iterator[Claim]:
    """E3: which norm is left in 1e5 well-mixed agents, and how near they are to the map."""
    for k in (0.6, 0.8):
        tipping, ends, deviation = well_mixed.measure(k)
        yield Claim(f"well-mixed, N = 1e5, k = {k}: final shares from p* - .03, p* + .03",
                    f"p* = {well_mixed.TIPPING[k]}; 0 and 1 in 10 of 10 replicas",
                    f"p* = {tipping:.6f}; {np.mean(ends[0]):g} and {np.mean(ends[1]):g}",
                    bool(abs(tipping - well_mixed.TIPPING[k]) < 1e-6 and np.all(ends[0] == 0)
                         and np.all(ends[1] == 1)))
        yield Claim(f"well-mixed, N = 1e5, k = {k}: largest distance from the map, one generation",
                    "below 0.008", f"{deviation:.4f}", deviation < 0.008)


def synchronous(table: Table) -> Iterator[Claim]:
    """E4: all at once; k = 0 is norm change without need for coordination."""
    rows = {row[grid.K]: row for row in table.rows}
    for k, (low, high) in BANDS.items():
        time = rows[k]["test_t50"]
        yield Claim(f"50x50, synchronous, k = {k:g}: t50", f"{low:g} to {high:g}", f"{time:.2f}",
                    low <= time <= high)
    times = [rows[k]["test_t50"] for k in (0.0, 0.2, 0.4, 0.6, 0.7)]
    yield Claim("50x50, synchronous: t50 at k = 0, .2, .4, .6, .7", "increasing", _join(times),
                bool(np.all(np.diff(times) > 0)))
    switched = rows[0.9]["test_fraction_switched"]
    yield Claim("50x50, synchronous, k = 0.9: fraction that switched in 420 generations",
                "at most 0.25 (0 of 6)", f"{switched:.2g}", switched <= 0.25)
    time = rows[0.0]["test_t50"]
    yield Claim("50x50, synchronous, k = 0: t50 of norm change at c = 0", "7.0 +- 0.3",
                f"{time:.2f}", abs(time - 7.0) <= 0.3)


def sequential(table: Table) -> Iterator[Claim]:
    """E4: in random order."""
    rows = {row[grid.K]: row for row in table.rows}
    times = [rows[k]["test_t50"] for k in SEQUENTIAL]
    expected = list(SEQUENTIAL.values())
    yield Claim("50x50, random order: t50 at k = 0, .2, .4, .6, .7, .8",
                f"{_join(expected)} within 15%", _join(times),
                bool(np.all(np.abs(np.divide(times, expected) - 1) <= 0.15)))
    yield Claim("50x50, random order, k = 0: t50 of norm change at c = 0", "6.1 +- 0.3",
                f"{times[0]:.2f}", abs(times[0] - 6.1) <= 0.3)
    switched = rows[0.9]["test_fraction_switched"]
    yield Claim("50x50, random order, k = 0.9: fraction that switched in 420 generations",
                "at most 0.5 (0 of 3)", f"{switched:.2g}", switched <= 0.5)
    widths = [rows[k]["test_t90"] - rows[k]["test_t10"] for k in SEQUENTIAL]
    yield Claim("50x50, random order: t90 - t10 over k, a front at every k", "increasing",
                _join(widths), bool(np.all(np.diff(widths) > 0)))


def _join(values) -> str:
    return ", ".join(f"{x:.4g}" for x in values)
