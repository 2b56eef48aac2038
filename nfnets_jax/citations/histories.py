"""How often papers are cited in each year: in a network that was grown, and in the one replayed."""

from typing import NamedTuple

import jax
import numpy as np

from nfnets_jax.citations.arrivals import Arrivals
from nfnets_jax.citations.records import Citations


class Histories(NamedTuple):
    """Citations of real papers.

    Attributes:
      counts: int32 [n, years], how often each paper was cited in each year.
      published: int32 [n], its year.
      is_seed: bool [n], whether it belongs to the seed network.
    """

    counts: np.ndarray
    published: np.ndarray
    is_seed: np.ndarray


def citations_per_year(targets: jax.Array, arrivals: Arrivals) -> np.ndarray:
    """How often each paper was cited in each year: int32 [N, years]; seeds cite in the year 0."""
    year = np.repeat(arrivals.years, arrivals.num_references)
    return _count(np.asarray(targets[:len(year)]), year, len(arrivals.years),
                  int(arrivals.years[-1]) + 1)


def of_replay(citations: Citations, papers: np.ndarray, arrivals: Arrivals,
              last_seed_year: int) -> Histories:
    """Where the references of a replay really went, by the clock of the replay.

    There are as many references as in a network that is grown from it, and all those of seeds are
    of the year 0, too. Papers without references, which never arrive there, are here if they are
    cited.

    Args:
      citations: of the papers.
      papers: int [N], the index in `citations` of each paper that arrives.
      arrivals: of `reading.replay`, as `papers`.
      last_seed_year: with which they were made.
    """
    clock = np.maximum(citations.years - last_seed_year, 0)
    number = np.full(len(clock), -1)
    number[papers] = np.arange(len(papers))
    citing = np.repeat(np.arange(len(clock)), np.diff(citations.offsets))
    is_replayed = number[citing] >= 0
    citing, cited = citing[is_replayed], citations.targets[is_replayed]
    is_there = number >= 0
    is_there[cited] = True
    row = np.cumsum(is_there) - 1
    counts = _count(row[cited], clock[citing], int(is_there.sum()), int(arrivals.years[-1]) + 1)
    return Histories(counts, clock[is_there].astype(np.int32),
                     ((number >= 0) & (number < arrivals.num_seeds))[is_there])


def _count(cited: np.ndarray, year: np.ndarray, num_papers: int, num_years: int) -> np.ndarray:
    return np.bincount(cited.astype(np.int64) * num_years + year,
                       minlength=num_papers * num_years).reshape(
        num_papers, num_years).astype(np.int32)
