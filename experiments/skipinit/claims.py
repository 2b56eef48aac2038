"""What the study of SkipInit claims: variances before training, depths and batch sizes on digits.

The expectations of the digits are from another program with the same set-up, made before this
library's; they check an implementation, and are no independent evidence for arXiv 2002.10444.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from experiments.claims import Claim, run_sweep
from experiments.skipinit import digits_batch_size, digits_depth, methods, signal
from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import scoring
from nfnets_jax.sweeps.table import Table
from nfnets_jax.training import loop, mesh

RATE, DEPTH, SEED = "optimizer.learning_rate", "network.num_blocks", "seed"
NUM_CLASSES = 10
TRAINED = 0.9  # accuracy of a network that trains, where a learning rate works or does not
SIZES = dict(depth=100, width=512, batch_size=1024)
SEEDS = (0, 1, 2)

# (method, number of blocks, batch size) -> learning rate -> the scored runs.
Cells = dict[tuple[str, int, int], dict[float, scoring.Cell]]


def claims() -> Iterator[Claim]:
    """All claims of the study, in about eight minutes on two CPU cores."""
    yield from variances()
    wanted = ("bn_mlp", "skipinit_mlp", "sqrt2_mlp")
    yield from depths(run_sweep(digits_depth.get_config(), [
        run for run in digits_depth.get_sweep() if run[methods.NAME] in wanted]))
    yield from deepest(run_sweep(digits_depth.get_config("250"), [
        run for run in digits_depth.get_sweep("250")
        if run[methods.NAME] == "sqrt2_mlp" or (run[methods.GAIN] == 0.0 and run[RATE] == 2**-5)]))
    yield from _gains()
    yield from batch_sizes(run_sweep(digits_batch_size.get_config(), digits_batch_size.get_sweep()))


def cells_of(table: Table) -> Cells:
    """The scored runs of a sweep of this study; a diverged one scores chance."""
    found = {}
    for group in scoring.score(table, num_classes=NUM_CLASSES).groups:
        network = methods.network_of(table.base, group.fields)
        key = methods.identify(network), methods.count_blocks(network), group.batch_size
        found[key] = {cell.learning_rate: cell for cell in group.cells}
    return found


def variances() -> Iterator[Claim]:
    """At initialization, 100 blocks of 512 channels, 1,024 examples, three seeds."""
    alpha = SIZES["depth"] ** -0.5
    none, bn, sqrt2 = ([signal.measure(kind, **SIZES, seed=seed) for seed in SEEDS]
                       for kind in ("none", "bn", "sqrt2"))
    skipinit = [signal.measure("skipinit", **SIZES, alpha=alpha, seed=seed) for seed in SEEDS]
    relu = [signal.measure("none", depth=12, width=256, batch_size=1024, relu=True, seed=seed)
            for seed in SEEDS]
    yield _within("no norm: doublings of the variance in each block", 1.0, 0.02,
                  [_doublings(s.variance) for s in none])
    yield _within("no norm, ReLU, 12 blocks of 256 channels: doublings of the second moment",
                  1.0, 0.06, [_doublings(s.second_moment) for s in relu])
    ratios = [s.variance / signal.expected_variance("bn", SIZES["depth"]) for s in bn]
    yield _within("BN: variance of the input of block l over l, l >= 5", 1.0, 0.05,
                  _extremes([r[4:] for r in ratios]))
    yield _within("gain 1/sqrt(d): variance at the end (1 + 1/d)^d", 1.01**100, 0.1,
                  [s.variance[-1] for s in skipinit])
    # The closed form is an expectation over weights, around which single networks scatter.
    yield _within("sum over sqrt(2): variance, mean of the seeds, every block", 1.0, 0.2,
                  _extremes(np.mean([s.variance for s in sqrt2], axis=0)))
    shares = [s.shares / signal.expected_shares("bn", SIZES["depth"]) for s in bn]
    yield _within("BN: share of the branch of block l times l + 1", 1.0, 0.06, _extremes(shares))
    yield _within("no norm and sum over sqrt(2): share of the branch, every block", 0.5, 0.04,
                  _extremes([s.shares for s in (*none, *sqrt2)]))
    yield _within("gain 1/sqrt(d): share of the branch, every block", 1 / 101, 3e-4,
                  _extremes([s.shares for s in skipinit]))


def depths(table: Table) -> Iterator[Claim]:
    """6 and 48 blocks."""
    cells = {key[:2]: rates for key, rates in cells_of(table).items()}
    for method in ("skipinit", "skipinit_inverse"):
        yield _at_least(f"{methods.METHODS[method]}, 48 blocks, 2^-5: accuracy", 0.96,
                        cells[method, 48][2**-5].mean)
    yield _at_least("BN, 48 blocks, 2^-3: accuracy", 0.97, cells["bn", 48][2**-3].mean)
    plain = [row for cell in cells["skipinit_one", 48].values() for row in cell.rows]
    failed = [row["status"] == "diverged" or row["test_accuracy"] < 0.2 for row in plain]
    yield Claim("SkipInit, 1, 48 blocks: runs that diverge or stay below 0.2, learning rates 2^-1 "
                "to 2^-12", f"all {len(plain)}", f"{sum(failed)}", all(failed))
    for depth, is_low in ((48, True), (6, False)):
        accuracy = _best(cells["sqrt2", depth])
        yield Claim(f"sum over sqrt(2), {depth} blocks: best accuracy, mean of 8 seeds",
                    "below 0.75" if is_low else "at least 0.96", f"{accuracy:.3f}",
                    accuracy < 0.75 if is_low else accuracy >= 0.96)
    for depth in (6, 48):
        yield _at_least(f"BN, {depth} blocks, 2^-1: accuracy", TRAINED,
                        cells["bn", depth][2**-1].mean)
        for method in ("skipinit", "skipinit_inverse"):
            name, rates = methods.METHODS[method], cells[method, depth]
            losses = [row["train_loss"] for row in rates[2**-1].rows]
            yield Claim(f"{name}, {depth} blocks, 2^-1: mean training loss of the seeds",
                        "not finite", ", ".join("not finite" if loss is None else f"{loss:.2g}"
                                                for loss in losses), None in losses)
            trained = int(np.sum(rates[2**-3].values > TRAINED))
            # With 48 blocks this is the edge, where some seeds diverge.
            enough = 2 if depth == 6 else 1
            yield Claim(f"{name}, {depth} blocks, 2^-3: seeds of 2 with accuracy above {TRAINED}",
                        f"at least {enough}", f"{trained}", trained >= enough)


def deepest(table: Table) -> Iterator[Claim]:
    """250 blocks, one seed."""
    cells = {key[:2]: rates for key, rates in cells_of(table).items()}
    yield _at_least("SkipInit, 0, 250 blocks, 2^-5: accuracy", 0.95,
                    cells["skipinit", 250][2**-5].mean)
    accuracy = _best(cells["sqrt2", 250])
    yield Claim("sum over sqrt(2), 250 blocks: best accuracy", "at most 0.4", f"{accuracy:.3f}",
                accuracy <= 0.4)


def batch_sizes(table: Table) -> Iterator[Claim]:
    """Batches of 8 to 512, 20 epochs each."""
    cells = {(key[0], key[2]): rates for key, rates in cells_of(table).items()}
    sizes = sorted({batch for _, batch in cells})
    ceilings, best = {}, {}
    for method in ("bn", "skipinit"):
        name = methods.METHODS[method]
        for octave in (-14, -13):
            line = [cells[method, b][b * 2.0**octave].mean for b in sizes]
            yield Claim(f"{name}, batch {_join(sizes)}, learning rate over batch 2^{octave}: "
                        "spread of the accuracy", "at most 0.02",
                        f"{np.ptp(line):.3f}: {_join(line)}", bool(np.ptp(line) <= 0.02))
        ceilings[method] = [max(rate for rate, cell in cells[method, b].items()
                                if cell.mean > TRAINED) for b in sizes]
        best[method] = [_best(cells[method, b]) for b in sizes]
    bn, skipinit = ceilings["bn"], ceilings["skipinit"]
    growth = skipinit[sizes.index(128)] / skipinit[sizes.index(8)]
    yield Claim("SkipInit, 0: growth of the largest learning rate with accuracy above 0.9, from "
                "batch 8 to 128", "at least 4", f"{growth:g}", growth >= 4)
    yield Claim("BN: the same learning rate, batch 8 to 512",
                f"at least SkipInit's, {_join(skipinit)}", _join(bn),
                all(a >= b for a, b in zip(bn, skipinit, strict=True)))
    gaps = np.subtract(best["bn"], best["skipinit"])
    yield Claim("BN over SkipInit, 0, at the best learning rates: accuracy, batch 8 to 512",
                "at most 0.01 more", _join(gaps), bool(max(gaps) <= 0.01))


def _gains() -> Iterator[Claim]:
    means = {}
    for depth in (6, 48):
        config = digits_depth.get_config(str(depth))
        experiment = tasks.create(config_lib.check_config(config, 1))
        programs = loop.map_task(experiment.task, mesh.make_mesh(devices=jax.devices()[:1]))
        state = loop.initialize(programs, experiment, config.seed)
        batches = experiment.train_batches(0)
        for _ in range(experiment.total_steps):
            state, _ = programs.step(state, next(batches))
        gains = state.task.params["skipinit_mlp/blocks/block"]["skip_gain"]
        means[depth] = float(np.mean(np.abs(gains)))
    yield Claim("SkipInit, 0, 2^-5: mean absolute gain after 400 steps, 6 and 48 blocks",
                "not gated; conjectured to fall with depth", _join(means.values()), True)


def _at_least(claim: str, bound: float, measured: float) -> Claim:
    return Claim(claim, f"at least {bound:g}", f"{measured:.3f}", bool(measured >= bound))


def _within(claim: str, center: float, tolerance: float, measured: Sequence[float]) -> Claim:
    holds = bool(np.max(np.abs(np.subtract(measured, center))) <= tolerance)
    return Claim(claim, f"{center:.5g} +- {tolerance:g}", _join(measured), holds)


def _extremes(arrays: np.ndarray | Sequence[np.ndarray]) -> list[float]:
    """The smallest and the largest number."""
    return [float(np.min(arrays)), float(np.max(arrays))]


def _doublings(values: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(values)), np.log2(values), 1)[0])


def _best(rates: Mapping[float, scoring.Cell]) -> float:
    return max(cell.mean for cell in rates.values())


def _join(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
