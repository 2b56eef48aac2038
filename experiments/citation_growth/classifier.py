"""What the shapes of histories owe to the classifier: its threshold and its window.

Each network of `growing.py` is grown once and classified several times.

    python -m experiments.citation_growth.classifier

Reproduces: no experiment of arXiv 2002.06628. The window of 5 years and the threshold 0.75 are
    those of CACM 2015, recalled.
Expect: README.md has the shares. A minute on two CPU cores.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.citation_growth import growing
from nfnets_jax import command_line
from nfnets_jax import config as config_lib
from nfnets_jax.citations import histories, metrics, trajectories
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.reports import citation_networks
from nfnets_jax.tasks import citation_arrivals

NAMES = ("BA", "LBM-G")
# Threshold and window.
SETTINGS = ((0.5, 5), (0.75, 5), (0.9, 5), (0.75, 3), (0.75, 10))


class Entry(NamedTuple):
    """One row.

    Attributes:
      name: of the model.
      threshold: of the classifier.
      window: of the classifier.
      shares: float [seeds, 6], of the papers with a history that is long enough, in percent.
    """

    name: str
    threshold: float
    window: int
    shares: np.ndarray

    def mean(self, category: str) -> float:
        """Over the seeds that have such papers, in percent."""
        return float(np.nanmean(self.shares[:, CATEGORIES.index(category)]))


def entries(num_seeds: int = growing.NUM_SEEDS, **arrivals: Any) -> Iterator[Entry]:
    """All rows; `arrivals` changes fields of the config's `arrivals`."""
    for name in NAMES:
        grown = list(counts(growing.MODELS[name], num_seeds, arrivals))
        for threshold, window in SETTINGS:
            categories = [trajectories.classify(of, threshold=threshold, window=window)
                          for of in grown]
            yield Entry(name, threshold, window, np.array([
                100 * metrics.shares(of).all_six for of in categories]))


def counts(settings: Mapping[str, Any], num_seeds: int, arrivals: Mapping[str, Any]
           ) -> Iterator[np.ndarray]:
    """Citations per year of the networks that a run with each seed grows."""
    config = growing.get_config()
    config.update(settings)
    config.arrivals.update(arrivals)
    checked = config_lib.check_config(config, 1)
    papers = citation_arrivals.create(checked["arrivals"]).arrivals
    for state in citation_networks.grow_again(checked, range(num_seeds)):
        yield histories.citations_per_year(state.network.targets, papers)


def markdown(table: Iterator[Entry]) -> list[str]:
    """The rows as a table: means over seeds (and standard deviations)."""
    header = ("", "threshold", "window", *CATEGORIES)
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for entry in table:
        cells = [f"{mean:.1f} ({std:.1f})" for mean, std in zip(
            np.nanmean(entry.shares, axis=0), np.nanstd(entry.shares, axis=0, ddof=1),
            strict=True)]
        lines.append(f"| {entry.name} | {entry.threshold:g} | {entry.window} | "
                     f"{' | '.join(cells)} |")
    return lines


def main(argv: list[str]) -> None:
    """Runs the program."""
    if len(argv) != 1:
        command_line.fail("there are no arguments")
    print("\n".join(markdown(entries())))


if __name__ == "__main__":
    command_line.run(main)
