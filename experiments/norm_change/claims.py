"""What the study of norm change claims beyond the unit tests: the sweeps of its configs.

Expectations are from another program with the same rules, with its standard errors, and not from
arXiv 1704.04720, whose numbers could not be read. Mean fields, exact chains, fixation and passes
beside a literal loop are in tests/games.
"""

from collections.abc import Iterator

import numpy as np

from experiments.claims import Claim, run_sweep
from experiments.norm_change import exploration, graphs, updates
from nfnets_jax import sweeps
from nfnets_jax.sweeps.table import Row, Table

# t50 of `updates`, in the order of the needs for coordination, and the standard errors.
T50 = {"frozen": ((6.1, 6.8, 10.0, 18.2, 36.2, 78.5), (.1, .1, .1, .2, .8, 2.3)),
       "zero": ((7.9, 8.7, 13.4, 28.4, 73.7, 233.0), (.1, .1, .1, .4, 1.6, 17.0))}
DISSENT = {"frozen": 0.0177, "zero": 0.0119, "synchronous": 0.012826}
# The least of t50(c = 1) / t50(c = 0).
SLOWER = {"frozen": 10, "zero": 15}
MEAN_RATES = {"zero": (.1550, .1457, .1373, .1265, .0877),
              "frozen": (.1748, .1644, .1572, .1497, .1164)}
ON_GRAPHS = {"random_regular": (6.0, 13.2, None), "watts_strogatz": (10.0, 18.5, 55.0),
             "barabasi_albert": (24.8, 46.0, 96.2)}


def claims() -> Iterator[Claim]:
    """All claims of the study, in about three minutes on two CPU cores."""
    yield from transits(run_sweep(updates.get_config(), updates.get_sweep()))
    for variant in MEAN_RATES:
        yield from rates(variant, run_sweep(
            exploration.get_config(variant), exploration.get_sweep()))
    yield from small_rates()
    yield from on_graphs(run_sweep(graphs.get_config(), graphs.get_sweep()))


def name_of(row: Row) -> str:
    """frozen, zero or synchronous."""
    return row["update"] if row["update"] == "synchronous" else row["teacher_payoff"]


def transits(table: Table) -> Iterator[Claim]:
    """Figure 6 and its table: within four standard errors of the two programs together."""
    runs: dict[str, list[Row]] = {}
    for row in table.rows:
        runs.setdefault(name_of(row), []).append(row)
    for name, rows in runs.items():
        times, errors = (np.array([row[f"test_{metric}"] for row in rows], float)
                         for metric in ("t50", "t50_error"))
        if name in T50:
            expected, theirs = map(np.array, T50[name])
            yield Claim(f"50x50, {name}: t50 at c = 0, .2, .4, .6, .8, 1",
                        f"{_join(expected)} within 4 standard errors", _join(times),
                        bool(np.all(np.abs(times - expected) <= 4 * np.hypot(errors, theirs))))
            ratio = times[-1] / times[0]
            yield Claim(f"50x50, {name}: t50 at c = 1 over that at c = 0",
                        f"above {SLOWER[name]}, increasing", f"{ratio:.1f}",
                        bool(ratio > SLOWER[name] and np.all(np.diff(times) > 0)))
            switched = [row["test_fraction_switched"] for row in rows]
            yield Claim(f"50x50, {name}: fraction that switched", "1 for all c",
                        _join(switched), min(switched) == 1)
        before, error = (rows[0][f"test_worse_before_shock{end}"] for end in ("", "_error"))
        yield Claim(f"50x50, {name}, c = 0: share of the worse norm before the shock",
                    f"{DISSENT[name]} within 4 standard errors", f"{before:.4f} +- {error:.4f}",
                    abs(before - DISSENT[name]) <= 4 * error)
    frozen, zero = (runs[name][0] for name in ("frozen", "zero"))
    gap = zero["test_t50"] - frozen["test_t50"]
    yield Claim("50x50, c = 0: t50 of zero less that of frozen", "1.8 +- 0.6", f"{gap:.2f}",
                abs(gap - 1.8) <= 0.6)


def rates(variant: str, table: Table) -> Iterator[Claim]:
    """Figure 8: mean exploration rates over the second half, 50x50."""
    found = np.array([row["test_mean_rate"] for row in table.rows])
    yield Claim(f"50x50, {variant}: mean rate at c = 0, .25, .5, .75, 1",
                f"{_join(MEAN_RATES[variant])} +- 0.006, decreasing", _join(found),
                bool(np.all(np.abs(found - MEAN_RATES[variant]) <= 0.006)
                     and np.all(np.diff(found) < 0)))
    if variant == "zero":
        on_better = [table.rows[i]["test_time_on_better"] for i in (0, 2, 4)]
        yield Claim("50x50, zero: time on the better norm at c = 0, .5, 1",
                    "0.878, 0.787, 0.518 +- 0.02", _join(on_better),
                    bool(np.all(np.abs(np.subtract(on_better, (.878, .787, .518))) <= 0.02)))


def small_rates() -> Iterator[Claim]:
    """Mean rates on 20x20, in the bands of the specification."""
    config = exploration.get_config("zero")
    config.graph.height = config.graph.width = 20
    config.num_replicas, config.num_generations, config.evaluate_every = 16, 600, 0
    rows = run_sweep(config, sweeps.product({exploration.C: (0.0, 0.5, 1.0)})).rows
    found = [row["test_mean_rate"] for row in rows]
    bands = ((.148, .160), (.132, .143), (.083, .092))
    yield Claim("20x20, zero: mean rate at c = 0, .5, 1",
                ", ".join(f"{a} to {b}" for a, b in bands), _join(found),
                all(a <= x <= b for x, (a, b) in zip(found, bands, strict=True)))
    share = rows[-1]["test_share_of_rate_0"]
    yield Claim("20x20, zero, c = 1: share of agents who never explore", "above 0.55",
                f"{share:.3f}", share > 0.55)


def on_graphs(table: Table) -> Iterator[Claim]:
    """Other graphs: times of another program's graphs and four replicas, hence within a quarter."""
    for name, expected in ON_GRAPHS.items():
        rows = [row for row in table.rows if row[graphs.NAME] == name]
        times = [row.get("test_t50") for row in rows]
        yield Claim(f"{name}, frozen: t50 at c = 0, .5, 1",
                    f"{_join(expected)} within 25%", _join(times),
                    all((x is None) if e is None else (x is not None and abs(x / e - 1) <= 0.25)
                        for x, e in zip(times, expected, strict=True)))


def _join(values) -> str:
    return ", ".join("never" if x is None else f"{x:.4g}" for x in values)
