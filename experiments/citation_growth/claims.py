"""What the study of citation growth claims: which shapes which models can make.

Expectations are from runs of another program with the same models and arrivals; they check an
implementation, and are no evidence about arXiv 2002.06628, whose numbers could not be read. Shares
are of all papers with a history that is long enough, seeds included.
"""

from collections.abc import Iterator

import jax
import numpy as np

from experiments.citation_growth import blocks, classifier, exponents, flat, growing, results
from experiments.citation_growth.results import classified, mean, pooled
from experiments.claims import Claim, run_sweep
from nfnets_jax import sweeps
from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations import growth, histories, theory
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.sweeps.table import Row, Table

WIDE = ("LBM, constant", "LBM, log")


def claims() -> Iterator[Claim]:
    """All claims of the study, in about six minutes on two CPU cores."""
    swept = run_sweep(growing.get_config(), growing.get_sweep(), mapping="map")
    grown = {name: results.select(swept, model) for name, model in growing.MODELS.items()}
    swept = run_sweep(flat.get_config(), flat.get_sweep(), mapping="map")
    flattened = {name: results.select(swept, growing.MODELS[name]) for name in flat.NAMES}
    yield from shapes(grown, flattened)
    yield from hubs(grown)
    yield from wide_reach()
    yield from block_error()
    yield from common_curve()
    yield from thresholds_and_windows(list(classifier.entries(num_seeds=8)))
    yield from tails(run_sweep(exponents.get_config(), exponents.get_sweep(), mapping="map"))


def shapes(grown: dict[str, list[Row]], flattened: dict[str, list[Row]]) -> Iterator[Claim]:
    """Early risers need more than degrees; all histories follow the arrivals in BA."""
    ba, additive, moving = (classified(grown[name]) for name in ("BA", "additive", "LBM-G"))
    yield Claim("BA: early risers, frequent risers, percent of classified papers",
                "at most 1.5, 74 to 83", _join(ba["early_riser"], ba["frequent_riser"]),
                ba["early_riser"] <= 1.5 and 74 <= ba["frequent_riser"] <= 83)
    yield Claim("LBM-G: early, late, frequent, steady risers, percent of classified papers",
                "at least 40, 2, 2, 2", _join(*moving.values()),
                moving["early_riser"] >= 40 and min(moving.values()) >= 2)
    ratio = moving["early_riser"] / additive["early_riser"]
    yield Claim("early risers of LBM-G over those of additive fitness", "above 3", f"{ratio:.2f}",
                ratio > 3)
    yield Claim("additive: early risers, percent of classified papers", "4 to 13",
                _join(additive["early_riser"]), 4 <= additive["early_riser"] <= 13)
    rise = [pooled(of["additive"], ("early_riser",))["early_riser"] for of in (grown, flattened)]
    yield Claim("additive: PeakInit and MonDec, growing, flat", "increasing (2.8, 9.7)",
                _join(*rise), rise[1] > rise[0])
    for category, expected, tolerance in (("PeakLate", (6.4, 1.7), 1.5),
                                          ("MonIncr", (1.1, 0.0), 0.6)):
        found = [pooled(of["BA"])[category] for of in (grown, flattened)]
        yield Claim(f"BA: {category}, growing, flat", f"{_join(*expected)} +- {tolerance}",
                    _join(*found), bool(np.allclose(found, expected, rtol=0, atol=tolerance)))


def hubs(grown: dict[str, list[Row]]) -> Iterator[Claim]:
    """Multiplicative fitness makes one winner, unless influence is local."""
    size = mean(grown["BA"], "papers")
    largest = {name: mean(rows, "max_in_degree") for name, rows in grown.items()}
    names = ("multiplicative", "LBM, log", "LBM, sqrt", "LBM, linear")
    top, good = (mean(grown["multiplicative"], metric) for metric in (
        "top_1_percent_share", "num_good"))
    share = largest["multiplicative"] / size
    yield Claim("multiplicative: largest in-degree over N, citations of the top 1%, n_good",
                "at least 0.85, at least 0.98, at most 300", f"{share:.3f}, {top:.3f}, {good:.0f}",
                share >= 0.85 and top >= 0.98 and good <= 300)
    good = mean(grown["additive"], "num_good")
    yield Claim("additive: n_good", "at least 3000", f"{good:.0f}", good >= 3000)
    found = [largest[name] for name in names]
    yield Claim(f"largest in-degree of {', '.join(names)}",
                "decreasing; the third below 0.15 of the first, the last below 150",
                ", ".join(f"{x:.0f}" for x in found),
                bool(np.all(np.diff(found) < 0) and found[2] < 0.15 * found[0] and found[3] < 150))


def wide_reach() -> Iterator[Claim]:
    """Influence that falls slowly with the distance is hardly local.

    The largest in-degree of one run has a standard deviation of 0.08 N, so that these are means of
    16 runs.
    """
    swept = run_sweep(growing.get_config(), sweeps.product(
        [growing.MODELS[name] for name in WIDE], {"seed": range(16)}), mapping="map")
    runs = [results.select(swept, growing.MODELS[name]) for name in WIDE]
    found = [mean(rows, "max_in_degree") / mean(rows, "papers") for rows in runs]
    yield Claim(f"{' and '.join(WIDE)}: largest in-degree over N", "above 0.75",
                ", ".join(f"{x:.3f}" for x in found), min(found) > 0.75)


def block_error() -> Iterator[Claim]:
    """Weights that change once a year make too many early peaks, once a week hardly any."""
    swept = run_sweep(blocks.get_config(), blocks.get_sweep(), mapping="map")
    exact = results.select(swept, blocks.EXACT)
    year, week = (results.select(swept, {"sampler": "block_synchronous", "papers_per_step": size})
                  for size in (blocks.BLOCKS[0], blocks.BLOCKS[-1]))
    shares = [mean(rows, "share_PeakInit") * 100 for rows in (year, week, exact)]
    good = mean(year, "num_good") / mean(exact, "num_good")
    yield Claim("multiplicative, blocks of a year over exact: n_good", "above 1.25", f"{good:.2f}",
                good > 1.25)
    yield Claim("multiplicative: PeakInit with blocks of a year, of a week, exact",
                "4 to 9 more than exact; within 2.5 of it", _join(*shares),
                4 <= shares[0] - shares[2] <= 9 and abs(shares[1] - shares[2]) <= 2.5)


def common_curve() -> Iterator[Claim]:
    """With replacement, the papers of the first year have the expected history of a closed form."""
    arrivals = arrivals_lib.synthetic("growing")
    grown = growth.create_growth(arrivals, sampler="with_replacement", papers_per_step=5000)
    run = jax.jit(lambda seed: growth.run(grown, jax.random.key(seed), growth.HYPER).targets)
    is_first = arrivals.years == 1
    # Later years only: in its own, the place of a paper matters.
    found = np.mean([histories.citations_per_year(run(seed), arrivals)[is_first, 2:].mean(axis=0)
                     for seed in range(40)], axis=0)
    expected = theory.expected_citations_per_year(
        arrivals.years, arrivals.num_references, growth.HYPER["attractiveness"],
        seed_in_degrees=np.bincount(arrivals.seed_targets, minlength=arrivals.num_seeds),
    )[is_first, 2:].mean(axis=0)
    correlation = np.corrcoef(found, expected)[0, 1]
    yield Claim("BA with replacement, papers of year 1: citations each, and correlation of the "
                "yearly means with the closed form", f"{expected.sum():.2f} within 6%; above 0.99",
                f"{found.sum():.2f}; {correlation:.4f}",
                bool(abs(found.sum() / expected.sum() - 1) <= 0.06 and correlation > 0.99))


def thresholds_and_windows(found: list[classifier.Entry]) -> Iterator[Claim]:
    """A higher threshold makes several peaks one; the window is for early peaks only.

    The other program has means of 4 runs, whose standard errors are up to 0.65 points, and these
    are of 8. The tolerances are three standard errors of the difference of the two.
    """
    def means(name, category):
        return {(entry.threshold, entry.window): entry.mean(category)
                for entry in found if entry.name == name}

    swept = [(threshold, 5) for threshold in (0.5, 0.75, 0.9)]
    for category, expected, tolerance in (("PeakMul", (35.4, 28.3, 9.7), 2.4),
                                          ("PeakLate", (0.4, 6.4, 19.6), 1.5),
                                          ("MonIncr", (0.1, 1.1, 6.5), 1.0)):
        values = [means("BA", category)[at] for at in swept]
        yield Claim(f"BA: {category} at thresholds 0.5, 0.75, 0.9",
                    f"{_join(*expected)} +- {tolerance}", _join(*values),
                    bool(np.allclose(values, expected, rtol=0, atol=tolerance)))
    values = [means("LBM-G", "PeakMul")[at] for at in swept]
    yield Claim("LBM-G: PeakMul at thresholds 0.5, 0.75, 0.9", "decreasing (23.1, 10.0, 3.1)",
                _join(*values), bool(np.all(np.diff(values) < 0)))
    windows = [(0.75, window) for window in (3, 5, 10)]
    moved = max(np.ptp([means("BA", category)[at] for at in windows]) for category in CATEGORIES)
    yield Claim("BA: the most that windows of 3, 5 and 10 years move a share", "below 0.3 points",
                f"{moved:.2f}", bool(moved < 0.3))
    values = [means("LBM-G", "PeakInit")[at] for at in windows]
    yield Claim("LBM-G: PeakInit with windows of 3, 5 and 10 years", "increasing (8.9, 9.6, 15.3)",
                _join(*values), bool(np.all(np.diff(values) > 0)))


def tails(swept: Table) -> Iterator[Claim]:
    """Fitness with a lighter tail makes fewer early risers, and more papers with a history."""
    runs = {(model, exponent): results.select(swept, {"model": model, "fitness_exponent": exponent})
            for model in exponents.MODELS for exponent in exponents.EXPONENTS}
    # Runs deviate by about 0.3 and 2 to 5 points: two to three errors of the difference of means.
    for model, expected, tolerance in (("additive", (2.3, 0.5, 0.3), 0.6),
                                       ("multiplicative", (15.2, 6.8, 5.1), 5.0)):
        values = [100 * mean(runs[model, exponent], "share_PeakInit")
                  for exponent in exponents.EXPONENTS]
        yield Claim(f"{model}: PeakInit with Lomax exponents 1, 2, 3",
                    f"{_join(*expected)} +- {tolerance}; decreasing", _join(*values),
                    bool(np.allclose(values, expected, rtol=0, atol=tolerance)
                         and np.all(np.diff(values) < 0)))
    values = [mean(runs["multiplicative", exponent], "num_good")
              for exponent in exponents.EXPONENTS]
    expected = (156, 497, 788)
    yield Claim("multiplicative: n_good with Lomax exponents 1, 2, 3", "156, 497, 788 +- 20%",
                ", ".join(f"{x:.0f}" for x in values),
                bool(np.allclose(values, expected, rtol=0.2)))


def _join(*values: float) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
