"""What the study of RMSProp, ADAM and NAG claims, on autoencoders of 8x8 digits.

Expectations are from runs of another program with the same set-ups, made before this library's;
they check an implementation, and are no independent evidence for arXiv 1807.06766. The theorems and
the exact forms of the optimizers are tests (`tests/optim`).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from experiments.adaptive_optimizers import (
    autoencoders,
    eigenvalue_track,
    full_batch,
    methods,
    mini_batch,
    runs,
    smallest_eigenvalue,
    xi,
)
from experiments.claims import Claim, run_sweep


def claims() -> Iterator[Claim]:
    """All claims of the study, with one seed, in a few minutes on two CPU cores.

    The sweeps have two seeds. RMSProp, whose place is provisional, is left to them.
    """
    yield from full_batch_claims(_run(full_batch.get_config(), full_batch.get_sweep(), (
        "adam", "nag")))
    yield from _narrow_network()
    yield from mini_batch_claims(_run(mini_batch.get_config(), mini_batch.get_sweep()))
    yield from _tie()
    yield from xi_claims(_run(xi.get_config(), xi.get_sweep()))
    yield from _eigenvalues()


def _run(config, overrides, optimizers=("adam",)) -> list[runs.Cell]:
    """The cells of a sweep, of its first seed and some of its optimizers."""
    return runs.cells(run_sweep(config, [
        run for run in overrides
        if run[methods.SEED] == overrides[0][methods.SEED] and run[methods.NAME] in optimizers]))


def full_batch_claims(found: Sequence[runs.Cell]) -> Iterator[Claim]:
    """Of the sweep full_batch.py:digits, without RMSProp."""
    def late(label, metric="train_loss", rate=2e-3):
        cell, = (cell for cell in found if (cell.label, cell.rate) == (label, rate))
        return np.array(cell.late(metric))

    loss = {beta1: late(f"ADAM {beta1:g}") for beta1 in (0.8, 0.9, 0.95, 0.99)}
    for high, low, least in ((0.8, 0.95, 5), (0.9, 0.95, 1.5), (0.95, 0.99, 1.5)):
        ratio = np.min(loss[high] / loss[low])
        yield Claim(f"autoencoder, full batch, step 2e-3: training loss at beta1 = {high:g} over "
                    f"that at {low:g}, smallest of the seeds", f"above {least:g}", f"{ratio:.1f}",
                    bool(ratio > least))
    adam, nag = ({label: runs.best(found, label) for label in labels} for labels in (
        ("ADAM 0.9", "ADAM 0.99"), ("NAG 0.9", "NAG 0.99")))
    ratio = _ratio(adam["ADAM 0.99"], adam["ADAM 0.9"])
    yield Claim("each at its best step: loss of ADAM 0.99 over ADAM 0.9", "below 1/3",
                f"{ratio:.3f}", ratio < 1 / 3)
    ratio = max(_ratio(adam["ADAM 0.9"], cell) for cell in nag.values())
    yield Claim("loss of ADAM 0.9 over the better NAG", "below 1/2", f"{ratio:.3f}", ratio < 1 / 2)
    ratio = _ratio(adam["ADAM 0.99"], adam["ADAM 0.9"], "test_loss")
    yield Claim("test loss of ADAM 0.99 over ADAM 0.9, on 256 examples (negative: it overfits)",
                "above 1", f"{ratio:.2f}", ratio > 1)


def mini_batch_claims(found: Sequence[runs.Cell]) -> Iterator[Claim]:
    """Of the sweep mini_batch.py:digits."""
    slow, fast = (runs.best(found, label) for label in ("ADAM 0.99", "ADAM 0.9"))
    for metric, what in (("train_loss", "training"), ("test_loss", "test")):
        ratio = _ratio(slow, fast, metric)
        yield Claim(f"autoencoder of width 256, batch 100, each at its best step: {what} loss of "
                    "ADAM 0.99 over ADAM 0.9", "below 0.7", f"{ratio:.3f}", ratio < 0.7)


def xi_claims(found: Sequence[runs.Cell]) -> Iterator[Claim]:
    """Of the sweep xi.py:digits, ADAM alone."""
    cells = {(cell.xi, cell.rate): cell for cell in found}
    large = cells[1e-2, 3e-3]
    ratio = 1 / _ratio(large, cells[1e-8, 3e-3], "gradient_norm")
    yield Claim("one hidden layer, full batch, ADAM 0.9 at step 3e-3: gradient norm with xi = 1e-8 "
                "over that with 1e-2", "at least 20", f"{ratio:.0f}", ratio >= 20)
    ratio = _ratio(large, cells[1e-8, 1e-3], "test_loss")
    yield Claim("its test loss over that with xi = 1e-8 at that one's better step, 1e-3",
                "at most 1", f"{ratio:.3f}", ratio <= 1)


def _narrow_network() -> Iterator[Claim]:
    found = _run(autoencoders.digits(3, 64, num_examples=256, num_steps=6000),
                 mini_batch.get_sweep("digits,64"))
    ratio = _ratio(runs.best(found, "ADAM 0.99"), runs.best(found, "ADAM 0.9"))
    yield Claim("three hidden layers as narrow as the input, full batch: loss of ADAM 0.99 over "
                "ADAM 0.9 (negative: the order is the other way round)", "above 1",
                f"{ratio:.2f}", ratio > 1)


def _tie() -> Iterator[Claim]:
    found = _run(mini_batch.get_config("digits,128"), mini_batch.get_sweep("digits,128"))
    ratio = _ratio(runs.best(found, "ADAM 0.99"), runs.best(found, "ADAM 0.9"))
    yield Claim("width 128, batch 100: training loss of ADAM 0.99 over ADAM 0.9 (negative: a tie)",
                "0.5 to 2", f"{ratio:.2f}", 0.5 <= ratio <= 2)


def _eigenvalues() -> Iterator[Claim]:
    config = smallest_eigenvalue.get_config()
    tracks = {methods.label(run): eigenvalue_track.follow(
        config, run, smallest_eigenvalue.NUM_PRODUCTS) for run in smallest_eigenvalue.get_sweep()}
    track = tracks["NAG 0.9"].lambda_min[1:]
    yield Claim("smallest eigenvalue under NAG, every 150 of 900 steps, in float64", "increasing",
                ", ".join(f"{value:.4f}" for value in track), bool(np.all(np.diff(track) > 0)))
    ratio = tracks["RMSProp 0.9"].gradient_norm[-1] / tracks["NAG 0.9"].gradient_norm[-1]
    yield Claim("gradient norm of RMSProp over NAG at the end", "above 10", f"{ratio:.1f}",
                bool(ratio > 10))
    lowest = {label: float(found.lambda_min[-1]) for label, found in tracks.items()}
    yield Claim("smallest eigenvalue at the end, ADAM 0.9 and NAG (negative: ADAM was recalled to "
                "stagnate)", "ADAM's is nearer to 0",
                f"{lowest['ADAM 0.9']:.4f}, {lowest['NAG 0.9']:.4f}",
                lowest["ADAM 0.9"] > lowest["NAG 0.9"])


def _ratio(one: runs.Cell, other: runs.Cell, metric: str = "train_loss") -> float:
    return one.median(metric) / other.median(metric)
