"""What the study of quantized training claims: walks with known laws, and digits.

Expectations of walks are from the exact chain or from runs of another program with the same set-up;
those of digits are from such runs alone, with thresholds that were set on the same seeds. They
check an implementation and are no independent evidence for arXiv 1706.02379.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.claims import Claim, run_sweep
from experiments.quantized import (
    digits,
    digits_batch_size,
    digits_learning_rate,
    methods,
    quadratic,
    results,
    wells,
)
from experiments.quantized.results import error, groups_of, mean
from nfnets_jax.analysis import rounding_bounds, rounding_chain
from nfnets_jax.sweeps.table import Row, Table
from nfnets_jax.tasks import quantized_walk

METHOD, ROUNDING, RATE = methods.METHOD, results.ROUNDING, results.RATE
DELTA = "quantization.delta"
# The walks of `wells` and `quadratic` by the name of the method.
WALKS = {"SR": ("stochastic", None), "BC": ("binary_connect", "deterministic"),
         "BC, stochastic": ("binary_connect", "stochastic"), "R": ("deterministic", None),
         "SGD": ("none", None)}


def claims() -> Iterator[Claim]:
    """All claims of the study, in about four minutes on two CPU cores."""
    yield from annealing(run_sweep(wells.get_config(), wells.get_sweep()))
    yield from floors(run_sweep(quadratic.get_config(), quadratic.get_sweep()))
    yield from one_dimension()
    yield from order(run_sweep(digits.get_config(), digits.get_sweep()))
    yield from clock(run_sweep(digits_learning_rate.get_config(), [
        run for run in digits_learning_rate.get_sweep() if run[RATE] <= 0.01]))
    yield from batches(run_sweep(digits_batch_size.get_config(), digits_batch_size.get_sweep()))


def walks_of(table: Table, field: str) -> dict[str, dict[float, Row]]:
    """The runs of a sweep of walks: name of the method -> value of a field -> run."""
    names = {value: name for name, value in WALKS.items()}
    found: dict[str, dict[float, Row]] = {}
    for row in table.rows:
        name = names[row[METHOD], row[ROUNDING]]
        found.setdefault(name, {})[row[field]] = row
    return found


def annealing(table: Table) -> Iterator[Claim]:
    """Figure 2: a smaller learning rate leads BC to the bottom, and not stochastic rounding."""
    runs, function = walks_of(table, RATE), quantized_walk.wells()
    points, _ = results.shares_of(runs["SR"][1.0])
    values = np.asarray(function.value(points[:, None]), np.float64)
    noise = rounding_chain.Gaussian(2.0)
    laws = {rate: rounding_chain.stationary(rounding_chain.transition_matrix(
        points, results.slope(function, points), rate, noise)) for rate in wells.RATES}
    exact = {rate: float(law @ values) for rate, law in laws.items()}
    loss = {name: {rate: row["test_mean_loss"] for rate, row in rates.items()}
            for name, rates in runs.items()}
    at_small, at_large = loss["SR"][0.01], (loss["SR"][1.0], loss["BC"][1.0])
    yield Claim("wells, SR, learning rate 0.01: mean loss", "0.416 +- 0.02", f"{at_small:.4f}",
                abs(at_small - 0.416) <= 0.02)
    yield Claim("wells, BC, learning rate 0.01: mean loss", "at most 0.26",
                f"{loss['BC'][0.01]:.4f}", loss["BC"][0.01] <= 0.26)
    yield Claim("wells, learning rate 1: mean loss of SR and BC", "2.60 within 5%",
                _join(at_large), all(abs(x / 2.60 - 1) <= 0.05 for x in at_large))
    fall = abs(exact[0.01] - exact[0.001])
    yield Claim("the exact mean loss of SR, learning rate 0.01 less 0.001", "below 1e-9",
                f"{fall:.1e}", fall < 1e-9)
    distances = [float(rounding_chain.total_variation(results.shares_of(row)[1], laws[rate]))
                 for rate, row in runs["SR"].items()]
    yield Claim("wells, SR: total variation of the histograms from the exact laws", "below 0.03",
                _join(distances), max(distances) < 0.03)
    frozen = [runs["R"][rate]["test_share_at_4"] for rate in (0.01, 0.001)]
    yield Claim("wells, R, learning rates 0.01 and 0.001: share of steps at the start", "1",
                _join(frozen), min(frozen) > 1 - 1e-6)


def floors(table: Table) -> Iterator[Claim]:
    """Accuracy floors on a quadratic: as delta for SR, as its square for BC, none for BC(Q_s)."""
    runs = walks_of(table, DELTA)
    excess = {name: [runs[name][delta]["test_loss_of_mean"] for delta in quadratic.DELTAS]
              for name in ("SR", "BC", "BC, stochastic")}
    sgd = next(iter(runs["SGD"].values()))["test_loss_of_mean"]
    slope = np.polyfit(np.log(quadratic.DELTAS), np.log(excess["SR"]), 1)[0]
    yield Claim("quadratic, SR, delta 1/2 to 1/32: slope of the log excess loss", "0.85 to 1.05",
                f"{slope:.3f}: {_join(excess['SR'])}", bool(0.85 <= slope <= 1.05))
    ratios = np.divide(excess["BC, stochastic"], sgd)
    yield Claim("quadratic, BC with stochastic rounding over SGD: excess loss", "1 within 10%",
                _join(ratios), bool(np.max(np.abs(ratios - 1)) <= 0.1))
    first = np.log2(np.divide(excess["BC"][:2], excess["BC"][1:3]))
    yield Claim("quadratic, BC, delta 1/2 to 1/8: doublings of the excess loss at each of delta",
                "1.8 to 2.3", f"{_join(first)}: {_join(excess['BC'])}",
                bool(1.8 <= first.min() and first.max() <= 2.3))
    bounds = []
    for delta in quadratic.DELTAS:
        norm = np.sqrt(100.0 + 2.0 * runs["SR"][delta]["test_mean_loss"])  # h = 1, noise N(0, 1)
        bounds.append(rounding_bounds.strongly_convex(
            20_000, gradient_norm=norm, strong_convexity=1.0, dimensions=100, delta=delta))
    share = np.divide([runs["SR"][delta]["test_mean_loss"] for delta in quadratic.DELTAS], bounds)
    yield Claim("quadratic, SR: mean excess loss over the bound of theorem 1", "below 1",
                _join(share), bool(share.max() < 1))


def one_dimension() -> Iterator[Claim]:
    """One-dimensional quadratics, minimizer 0.3, against the exact chain."""
    variances = []
    for batch_size in (1, 4, 16, 64):
        points = np.arange(-16, 17) / 4
        law = rounding_chain.stationary(rounding_chain.generator(
            points, points - 0.3, rounding_chain.Gaussian(batch_size**-0.5)))
        variances.append(float(law @ (points - 0.3) ** 2))
    expected = (.10483, .05509, .03041, .01829)
    yield Claim("limit of SR, delta 1/4, batch 1, 4, 16, 64: variance", _join(expected),
                _join(variances), bool(np.allclose(variances, expected, atol=1e-5)))

    config = quadratic.get_config()
    config.num_dimensions, config.minimizer, config.minimizer_spread = 1, 0.3, 0.0
    config.num_walks, config.num_steps, config.num_discarded = 2000, 2000, 200
    config.optimizer.decay = "constant"
    config.quantization.delta = 1.0
    config.quantization.lower, config.quantization.upper = -6.0, 6.0
    row, = run_sweep(config, [{RATE: 0.1}]).rows
    points, shares = results.shares_of(row)
    law = rounding_chain.stationary(rounding_chain.transition_matrix(
        points, points - 0.3, 0.1, rounding_chain.Gaussian(1.0)))
    distance = float(rounding_chain.total_variation(shares, law))
    yield Claim("SR, delta 1, 2,000 walks of 2,000 steps: total variation from the exact law",
                "below 0.005", f"{distance:.4f}", distance < 0.005)
    config.quantization.method = "binary_connect"
    for rounding, expected in (("stochastic", (.300, .300, .300)),
                               ("deterministic", (.307, .395, .468))):
        rows = run_sweep(config, [{RATE: rate, ROUNDING: rounding} for rate in (0.3, 0.1, 0.03)]
                         ).rows
        latent = [row["test_mean_latent"] for row in rows]
        rounded = [row["test_mean_weight"] for row in rows]
        yield Claim(f"BC, {rounding} rounding, delta 1, learning rate 0.3, 0.1, 0.03: mean of w_r; "
                    "of w_b", f"{_join(expected)} +- 0.004; 0.3 +- 0.01",
                    f"{_join(latent)}; {_join(rounded)}",
                    bool(np.allclose(latent, expected, atol=0.004)
                         and np.allclose(rounded, 0.3, atol=0.01)))


def order(table: Table) -> Iterator[Claim]:
    """Five methods on digits, means of five seeds."""
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        found.setdefault(methods.identify(row, digits.BATCH), []).append(row)
    errors = {name: error(found[name]) for name in methods.LABELS}
    names = list(methods.LABELS)
    for better, worse, least, most in zip(
            names[:-1], names[1:], (0.0, 2.0, 1.0, 8.0), (2.5, None, None, None), strict=True):
        gap = errors[worse] - errors[better]
        yield Claim(
            f"digits: test error of {methods.LABELS[worse]} less {methods.LABELS[better]}",
            f"at least {least:g}" if most is None else f"above {least:g}, at most {most:g}",
            f"{gap:.2f}: {errors[worse]:.2f}, {errors[better]:.2f}",
            gap >= least if most is None else least < gap <= most)
    losses = [mean(found[name], "train_loss") for name in names]
    yield Claim(f"digits: training loss of {', '.join(methods.LABELS.values())}", "increasing",
                _join(losses), bool(np.all(np.diff(losses) > 0)))
    frozen = [row[f"test_{metric}"] for row in found["deterministic"]
              for metric in ("changed_fraction", "flips_per_weight")]
    yield Claim("digits, R: share of weights that differ from the start, and flips, all seeds",
                "0 exactly", _join(sorted(set(frozen))), set(frozen) == {0.0})
    for name, low, high in (("stochastic", 0.42, 0.5), ("big_stochastic", 0.25, 0.34)):
        layers = _layers(found[name])
        yield Claim(f"digits, {methods.LABELS[name]}: share of weights that differ from the start, "
                    "each layer", f"{low:g} to {high:g}", _join(layers),
                    low <= min(layers) and max(layers) <= high)


def clock(table: Table) -> Iterator[Claim]:
    """Learning rates with proportionally many steps; means of the second halves of the curves."""
    loss, flips, changed = {}, {}, {}
    for values, rows in groups_of(table).items():
        key = values[:2]  # method, learning rate
        loss[key] = float(np.mean([_second_half(row["curve"], "train_loss") for row in rows]))
        flips[key] = mean(rows, "test_flips_per_weight")
        changed[key] = mean(rows, "test_changed_fraction")
    rates = (0.01, 0.003, 0.001)
    of_sr = [flips["stochastic", rate] for rate in rates]
    yield Claim("digits, SR, learning rate 0.01, 0.003, 0.001: flips of a weight",
                "equal within 10%", _join(of_sr), max(of_sr) <= 1.1 * min(of_sr))
    of_sr = [changed["stochastic", rate] for rate in rates]
    yield Claim("its share of weights that differ from the start", "equal within 0.05",
                _join(of_sr), max(of_sr) - min(of_sr) <= 0.05)
    for method, name in (("binary_connect", "BC"), ("stochastic", "SR")):
        fall = loss[method, 0.01] / loss[method, 0.001]
        of_all = _join(loss[method, rate] for rate in rates)
        yield Claim(f"digits, {name}: fall of the training loss from 0.01 to 0.001",
                    "at least 2.5" if name == "BC" else "below 1.5", f"{fall:.2f}: {of_all}",
                    fall >= 2.5 if name == "BC" else fall < 1.5)


def batches(table: Table) -> Iterator[Claim]:
    """Batch sizes at an equal number of steps, stochastic rounding."""
    found = {values[0]: rows for values, rows in groups_of(table).items()}
    loss = {batch: mean(rows, "train_loss") for batch, rows in found.items()}
    falls = [loss[16] / loss[64], loss[64] / loss[256]]
    yield Claim("digits, SR, 3,560 steps, batch 16 to 64 to 256: falls of the training loss",
                "both at least 2.5", f"{_join(falls)}: {_join(loss.values())}", min(falls) >= 2.5)
    gain = error(found[16]) - error(found[256])
    yield Claim("fall of the test error from batch 16 to 256", "at least 1.2", f"{gain:.2f}",
                gain >= 1.2)
    layers = np.array([_layers(rows) for rows in found.values()])
    spread = np.ptp(layers, axis=0)
    yield Claim("its share of weights that differ from the start, spread over the batch sizes, "
                "each layer", "within 0.06", _join(spread), bool(spread.max() <= 0.06))


def _layers(rows: Sequence[Mapping]) -> list[float]:
    """Mean share of changed weights of each layer."""
    names = [name for name in rows[0] if name.startswith("test_changed_fraction_")]
    return [mean(rows, name) for name in names]


def _second_half(curve: Sequence[Mapping], metric: str) -> float:
    values = [evaluation[metric] for evaluation in curve if metric in evaluation]
    return float(np.mean(values[len(values) // 2:]))


def _join(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
