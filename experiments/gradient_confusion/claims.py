"""What the study of gradient confusion claims, at initialization and after short training.

Expectations are from runs of other programs with the same set-ups, made before this library's; they
check an implementation, and are no independent evidence for arXiv 1904.06963, whose figures are
curves without numbers. What is taken from it is the order: width helps, depth hurts, batch norm
and skips together help most.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.claims import Claim, run_sweep
from experiments.gradient_confusion import (
    bound,
    digits_parity,
    initialization,
    teacher,
    toy_regression,
)
from nfnets_jax.analysis import confusion_theory, scoring
from nfnets_jax.sweeps.table import Table

SEEDS = range(20)
# The smallest cosine by kind and width, for the numbers of matrices; ReLU at width 64 was not run.
INITIALIZATION = {
    "linear": ((1, 2, 4, 8, 16, 32, 64), {
        16: (-.395, -.443, -.560, -.769, -.898, -.963, -.977),
        64: (-.395, -.436, -.521, -.633, -.753, -.866, -.935),
        256: (-.395, -.422, -.447, -.489, -.551, -.663, -.764)}),
    "tanh": ((2, 5, 9, 17), {
        16: (-.443, -.630, -.821, -.920), 64: (-.436, -.550, -.652, -.782),
        256: (-.422, -.458, -.490, -.557)}),
    "relu": ((5, 17, 33), {16: (-.614, -.852, -.943), 256: (-.479, -.537, -.531)}),
}
SPHERE = {16: .723, 64: .392, 256: .198, 1024: .101}


class Trained(NamedTuple):
    """The runs of a network at its best learning rate, by their mean training loss.

    Attributes:
      learning_rate: the best one.
      loss: mean training loss.
      minimum: [seeds], the smallest cosine.
      std: [seeds], standard deviation of the cosines.
    """

    learning_rate: float
    loss: float
    minimum: np.ndarray
    std: np.ndarray


def claims() -> Iterator[Claim]:
    """All claims of the study, in about five minutes on two CPU cores."""
    yield from orthogonal()
    yield from at_initialization()
    yield from sphere()
    yield from bounds()
    yield from toy(run_sweep(toy_regression.get_config(), toy_regression.get_sweep()))
    yield from widths(_run_teacher("width"))
    yield from depths(_run_teacher("depth"))
    yield from norms_and_skips(_run_teacher("norm_and_skip"))
    yield from digits(run_sweep(digits_parity.get_config(), digits_parity.get_sweep()))


def orthogonal() -> Iterator[Claim]:
    """Theorem 6.1's network."""
    found = np.array([initialization.measure(
        "orthogonal", num_matrices=n, width=initialization.DIM, seeds=SEEDS).minimum
        for n in INITIALIZATION["linear"][0]])
    spread = np.max(np.ptp(found, axis=0))
    yield Claim("orthogonal linear networks of 1 to 64 matrices: spread of the smallest cosine of "
                "a seed", "below 1e-6", f"{spread:.1e}", bool(spread < 1e-6))
    yield _near("their smallest cosine, mean of 20 seeds", [-0.395], 0.03, [found[0].mean()])


def at_initialization() -> Iterator[Claim]:
    """Gaussian weights; width helps from some depth on, depth hurts except where it saturates."""
    for kind, (numbers, by_width) in INITIALIZATION.items():
        means = {width: [initialization.measure(
            kind, num_matrices=n, width=width, seeds=SEEDS).minimum.mean() for n in numbers]
            for width in by_width}
        # Seeds scatter by up to 0.08 around means of 20.
        for width, expected in by_width.items():
            yield _near(f"{kind}, width {width}: smallest cosine of {_join(numbers)} matrices",
                        expected, 0.08 if kind == "linear" else 0.05, means[width])
        deep = [width for width in by_width if kind != "relu" or width <= 64]
        falls = all(np.all(np.diff(means[width]) < 0) for width in deep)
        yield Claim(f"{kind}: more matrices, lower cosine, width {_join(deep)}", "at every step",
                    "yes" if falls else "no", falls)
        rises = all(np.all(np.diff(row) > 0) for n, *row in zip(
            numbers, *means.values(), strict=True) if n >= 4)
        yield Claim(f"{kind}: wider, higher cosine, 4 or more matrices", "at every step",
                    "yes" if rises else "no", rises)
    found = np.array([[initialization.measure(
        "tanh", num_matrices=n, width=width, seeds=SEEDS).std.mean() for n in (5, 9, 17)]
        for width in (16, 64, 256)])
    ordered = bool(np.all(np.diff(found, axis=0) < 0) and np.all(np.diff(found, axis=1) > 0))
    yield Claim("tanh: standard deviation of the cosines of 5, 9, 17 matrices, widths 16, 64, 256",
                "more matrices raise it, width lowers it", "; ".join(map(_join, found)), ordered)
    two = [initialization.measure("relu", num_matrices=2, width=width, seeds=SEEDS).minimum.mean()
           for width in (16, 256)]
    yield _near("relu, 2 matrices, the reverse: smallest cosine of width 16, 256", (-.357, -.453),
                0.05, two)


def sphere() -> Iterator[Claim]:
    """The gradients of a linear model at w = 0 with random labels: points on the sphere."""
    medians = {}
    for dim in SPHERE:
        rng = np.random.default_rng(dim)
        found = []
        for _ in range(200):
            x, y = initialization.draw_examples(rng, initialization.NUM_EXAMPLES, dim)
            gradients = x * y[:, None]
            cosines = (gradients @ gradients.T)[np.triu_indices(len(x), 1)]
            found.append(-cosines.min())
        medians[dim] = np.median(found)
    yield _near(f"linear model, 50 points on the sphere, d = {_join(SPHERE)}: median of the "
                "smallest cosine, times -1", list(SPHERE.values()), 0.02, list(medians.values()))
    for dim in (64, 256, 1024):
        predicted = confusion_theory.sphere_median(initialization.NUM_EXAMPLES, dim)
        ratio = medians[dim] / predicted
        yield Claim(f"over the prediction for d = {dim}, {predicted:.3f}", "1 +- 0.05",
                    f"{ratio:.3f}", bool(abs(ratio - 1) <= 0.05))
    halved = [medians[dim] / medians[4 * dim] for dim in (64, 256)]
    yield _near("over that of four times the dimensions, d = 64, 256", (2, 2), 0.1, halved)


def bounds() -> Iterator[Claim]:
    """Theorem 3.1 on least squares whose constants are known."""
    for dim in (5, 40):
        paths = bound.measure(dim, seeds=range(5))
        largest = max(float(np.max(path.gaps / path.bound)) for path in paths)
        yield Claim(f"least squares, 20 inputs of {dim} dimensions: gap over theorem 3.1's bound, "
                    "largest over 4,000 steps and 5 problems", "above 0, below 1", f"{largest:.4f}",
                    0 < largest < 1)


def toy(table: Table) -> Iterator[Claim]:
    """Figure 1; cosines of all pairs of examples."""
    means = {dim: {name: np.mean([row[name] for row in table.rows if row["num_dimensions"] == dim])
                   for name in ("test_loss", "eta", "min_cosine", "std_cosine")}
             for dim in (120, 80)}
    few, many = means[80], means[120]
    for name, what in (("test_loss", "final loss"), ("eta", "eta")):
        yield Claim(f"regression, 80 dimensions over 120: {what}", "above 10",
                    f"{few[name] / many[name]:.0f}: {few[name]:.3g}, {many[name]:.3g}",
                    bool(few[name] > 10 * many[name]))
    for name, what, expected, tolerance in (
            ("min_cosine", "smallest cosine", (-.330, -.394), 0.05),
            ("std_cosine", "standard deviation of the cosines", (.091, .112), 0.01)):
        yield _near(f"{what}, 120 and 80 dimensions", expected, tolerance,
                    (many[name], few[name]))


def widths(table: Table) -> Iterator[Claim]:
    """Ten hidden layers of several widths."""
    found = _by_network(table, lambda fields: fields["network.widths"][0])
    for width, trained in sorted(found.items()):
        yield _describe(f"teacher, 10 layers of {width}", trained)
    gain = _difference(found, 64, 8)
    yield Claim("smallest cosine, width 64 less width 8", "above 0.12 (0.273)", f"{gain:.3f}",
                gain > 0.12)
    yield Claim("training loss, width 8 over width 64", "above 5 (31)",
                f"{found[8].loss / found[64].loss:.1f}", found[8].loss > 5 * found[64].loss)


def depths(table: Table) -> Iterator[Claim]:
    """Several hidden layers of 16 units."""
    found = _by_network(table, lambda fields: len(fields["network.widths"]))
    for depth, trained in sorted(found.items()):
        yield _describe(f"teacher, {depth} layers of 16", trained)
    gain = _difference(found, 2, 16)
    yield Claim("smallest cosine, 2 layers less 16", "above 0.10 (0.246)", f"{gain:.3f}",
                gain > 0.10)
    stds = [found[depth].std.mean() for depth in sorted(found)]
    yield Claim("standard deviation of the cosines, 2, 6, 10, 16 layers",
                "increasing (0.149, 0.163, 0.194, 0.258)", _join(stds), stds == sorted(stds))


def norms_and_skips(table: Table) -> Iterator[Claim]:
    """Ten blocks of two matrices with neither, either and both, and twenty with both."""
    found = _by_network(table, lambda fields: (
        fields["network.name"].split("_")[0], fields["network.use_skip"],
        fields["network.num_blocks"]))
    names = {("plain", False): "neither", ("plain", True): "skips", ("bn", False): "batch norm",
             ("bn", True): "both"}
    for (block, use_skip, count), trained in found.items():
        yield _describe(f"teacher, {count} blocks of 16, {names[block, use_skip]}", trained)
    gain = _difference(found, ("bn", True, 10), ("plain", False, 10))
    yield Claim("smallest cosine, both less neither", "above 0.2 (0.347)", f"{gain:.3f}",
                gain > 0.2)
    losses = {key: trained.loss for key, trained in found.items() if key[2] == 10}
    yield Claim("lowest training loss", "both", names[min(losses, key=losses.get)[:2]],
                min(losses, key=losses.get) == ("bn", True, 10))
    alone = found["bn", False, 10]
    opposed = (alone.minimum.mean() > found["plain", False, 10].minimum.mean()
               and alone.loss == max(losses.values()))
    yield Claim("batch norm alone: less confusion than neither and yet the highest loss, so that "
                "confusion does not order architectures", "so", "so" if opposed else "not so",
                opposed)
    deep = found["bn", True, 20].minimum.mean() - found["plain", False, 10].minimum.mean()
    yield Claim("smallest cosine, both with 20 blocks less neither with 10", "above 0.2 (0.301)",
                f"{deep:.3f}", bool(deep > 0.2))


def digits(table: Table) -> Iterator[Claim]:
    """Even and odd digits; the standard deviation has less noise than the minimum."""
    found = _by_network(table, lambda fields: (
        len(fields["network.widths"]), fields["network.widths"][0]))
    for (depth, width), trained in sorted(found.items()):
        yield _describe(f"parity of digits, {depth} layers of {width}", trained)
    for depth, expected in ((4, "0.287, 0.224"), (10, "0.302, 0.219")):
        narrow, wide = (found[depth, width].std.mean() for width in digits_parity.WIDTHS)
        yield Claim(f"standard deviation of the cosines, {depth} layers of 16 and of 128",
                    f"decreasing ({expected})", _join((narrow, wide)), bool(narrow > wide))


def _run_teacher(variant: str) -> Table:
    return run_sweep(teacher.get_config(variant), teacher.get_sweep(variant))


def _by_network(table: Table, key: Callable[[Mapping[str, Any]], Any]) -> dict[Any, Trained]:
    """key(varied fields of a network) -> its runs at the best learning rate."""
    found = {}
    for group in scoring.score(table, "train_loss").groups:
        rows = group.optimum.rows
        minimum, std = ([row[name] for row in rows] for name in ("min_cosine", "std_cosine"))
        found[key(group.fields)] = Trained(group.optimum.learning_rate, group.optimum.score,
                                           np.array(minimum), np.array(std))
    return found


def _difference(found: Mapping[Any, Trained], one: Any, other: Any) -> float:
    return float(found[one].minimum.mean() - found[other].minimum.mean())


def _describe(what: str, trained: Trained) -> Claim:
    """A row that is measured and not gated."""
    return Claim(
        f"{what}: smallest cosine, training loss, learning rate", "not gated",
        f"{trained.minimum.mean():.3f} +- {trained.minimum.std(ddof=1):.3f}, {trained.loss:.4f}, "
        f"{trained.learning_rate:g}", True)


def _near(claim: str, expected, tolerance: float, measured) -> Claim:
    holds = bool(np.max(np.abs(np.subtract(expected, measured))) <= tolerance)
    return Claim(claim, f"{_join(expected)} +- {tolerance:g}", _join(measured), holds)


def _join(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
