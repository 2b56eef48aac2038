"""Which papers arrive, when, and with how many references: what a growth model does not explain.

A paper's number is its place in the order of arrival. The first `num_seeds` papers form the seed
network, whose references are given; all of them carry the year 0.
"""

from typing import NamedTuple

import numpy as np

LARGEST_COUNT = 2**31 - 1  # of int32
KINDS = ("growing", "flat")
NUM_YEARS = 30


class Arrivals(NamedTuple):
    """Papers in the order of arrival.

    Attributes:
      years: int32 [N], year of publication, from 0; never decreasing.
      num_references: int32 [N], those inside the network; of seeds those that they have.
      num_seeds: papers of the seed network, at least one.
      seed_targets: int32 [E0], what the seeds cite, one seed after the other.
      seed_offsets: int32 [num_seeds + 1], where the references of each seed begin and end.
      positions: int32 [N], place of each paper, from 1, in a list that also holds the papers that
        never enter the network; None if there are no others.
      papers_per_year: int32 [years], how many papers that list has; None if there are no others.
    """

    years: np.ndarray
    num_references: np.ndarray
    num_seeds: int
    seed_targets: np.ndarray
    seed_offsets: np.ndarray
    positions: np.ndarray | None = None
    papers_per_year: np.ndarray | None = None


def check(arrivals: Arrivals, *, distinct: bool) -> None:
    """Checks that the papers can be grown into a network.

    Args:
      arrivals: of all papers.
      distinct: whether a paper cites no other twice.

    Raises:
      ValueError: naming the first paper that does not fit.
    """
    years, counts = arrivals.years, arrivals.num_references
    num_seeds, offsets, targets = arrivals.num_seeds, arrivals.seed_offsets, arrivals.seed_targets
    if not 1 <= num_seeds <= len(years):
        raise ValueError(f"num_seeds={num_seeds}: must be at least 1 and at most the {len(years)} "
                         "papers that there are")
    if len(counts) != len(years):
        raise ValueError(f"num_references has {len(counts)} papers and years {len(years)}")
    if len(offsets) != num_seeds + 1 or offsets[0] != 0 or offsets[-1] != len(targets):
        raise ValueError(f"seed_offsets: must have num_seeds + 1 = {num_seeds + 1} entries, from 0 "
                         f"to the {len(targets)} entries of seed_targets")
    if np.any(np.diff(offsets) != counts[:num_seeds]):
        paper = int(np.argmax(np.diff(offsets) != counts[:num_seeds]))
        raise ValueError(f"num_references={counts[paper]} of seed {paper}, whose references in "
                         f"seed_targets are {offsets[paper + 1] - offsets[paper]}")
    if len(targets) and not 0 <= targets.min() <= targets.max() < num_seeds:
        raise ValueError(f"seed_targets: must be seeds, 0 to {num_seeds - 1}; there are "
                         f"{targets.min()} and {targets.max()}")
    if np.any(np.diff(years) < 0):
        paper = int(np.argmax(np.diff(years) < 0)) + 1
        raise ValueError(f"years[{paper}]={years[paper]} after {years[paper - 1]}: sort the papers "
                         "by year")
    if np.any(counts < 0):
        paper = int(np.argmax(counts < 0))
        raise ValueError(f"num_references[{paper}]={counts[paper]}: must not be negative")
    present = np.arange(len(years))
    if distinct and np.any((counts > present)[num_seeds:]):
        paper = num_seeds + int(np.argmax((counts > present)[num_seeds:]))
        raise ValueError(
            f"num_references[{paper}]={counts[paper]}: more than the {paper} papers that are there "
            "to be cited; use more seeds, or a sampler with replacement")
    if counts.sum(dtype=np.int64) > LARGEST_COUNT:
        raise ValueError(f"there are {counts.sum(dtype=np.int64)} references, more than an int32 "
                         "can count; use fewer papers")


def offsets_of(arrivals: Arrivals) -> np.ndarray:
    """Where the references of each paper begin and end in the list of all: int32 [N + 1]."""
    return np.concatenate([[0], np.cumsum(arrivals.num_references)]).astype(np.int32)


def synthetic(kind: str = "growing", *, num_papers: int | None = None,
              mean_references: float = 10.0, seed: int = 0) -> Arrivals:
    """Thirty years of papers (our choice, since the authors' tables are not public).

    There are 300 seeds, of which number i cites min(i, 3) different earlier ones, and in year t
    300 1.06^t papers ('growing', 25,442 in all) or 800 ('flat', 24,300). With another
    `num_papers` seeds and years are scaled alike. A paper has 1 + Poisson(mean - 1) references, or
    as many as there are papers.

    Args:
      kind: one of `KINDS`.
      num_papers: N, seeds included.
      mean_references: of papers that are no seeds, at least 1.
      seed: of the numbers of references and of the seed network.

    Raises:
      ValueError: if there is no such kind, if a year would be without papers, or if the mean is
        less than 1.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(KINDS)}")
    if not mean_references >= 1:
        raise ValueError(f"mean_references={mean_references:g}: must be at least 1")
    growth = 300 * 1.06 ** np.arange(1, NUM_YEARS + 1)
    sizes = np.concatenate([[300], np.round(growth) if kind == "growing" else np.full(
        NUM_YEARS, 800)])
    num_papers = int(sizes.sum()) if num_papers is None else num_papers
    sizes = np.diff(np.round(np.cumsum(sizes) * (num_papers / sizes.sum())), prepend=0).astype(int)
    if np.any(sizes < 1):
        raise ValueError(f"num_papers={num_papers}: too few for {NUM_YEARS} years and a seed "
                         "network; use at least 200")
    random = np.random.default_rng(seed)
    num_seeds = int(sizes[0])
    seed_targets = [random.choice(i, min(i, 3), replace=False) for i in range(num_seeds)]
    counts = 1 + random.poisson(mean_references - 1, num_papers)
    counts = np.minimum(counts, np.arange(num_papers)).astype(np.int32)
    counts[:num_seeds] = [len(targets) for targets in seed_targets]
    return Arrivals(
        np.repeat(np.arange(NUM_YEARS + 1, dtype=np.int32), sizes), counts, num_seeds,
        np.concatenate(seed_targets).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts[:num_seeds])]).astype(np.int32))


def constant(num_papers: int, num_references: int, *, num_seeds: int = 1) -> Arrivals:
    """Papers with the same number of references after a path of seeds, each in a year of its own.

    Seed i cites seed i - 1; a single seed cites nothing. This is what closed forms and other
    packages assume.
    """
    counts = np.full(num_papers, num_references, np.int32)
    counts[:num_seeds] = np.arange(num_seeds) > 0
    return Arrivals(
        np.maximum(np.arange(num_papers, dtype=np.int32) - (num_seeds - 1), 0), counts, num_seeds,
        np.arange(num_seeds - 1, dtype=np.int32),
        np.maximum(np.arange(num_seeds + 1, dtype=np.int32) - 1, 0))


def replay(years: np.ndarray, citing: np.ndarray, cited: np.ndarray, *, last_seed_year: int,
           last_year: int | None = None) -> tuple[Arrivals, np.ndarray]:
    """The arrivals of real papers, as the simulators behind arXiv 2002.06628 replay them.

    Seeds are the papers published up to `last_seed_year` that cite or are cited among themselves.
    Later papers arrive in the order of their years, with as many references as they really have;
    those without any never enter the network.

    Args:
      years: int [M], of publication; the index is the paper's.
      citing: int [R], the papers whose references these are.
      cited: int [R], the papers that they cite; each pair occurs once.
      last_seed_year: of the seed network.
      last_year: of the papers that arrive; None for all.

    Returns:
      The arrivals, whose year is 0 for seeds and counts from `last_seed_year`, and int [N], the
      index of each paper in `years`.

    Raises:
      ValueError: if there is no seed network, or if a paper has more references than there are
        papers before it.
    """
    years, citing, cited = (np.asarray(x, np.int64) for x in (years, citing, cited))
    last_year = int(years.max()) if last_year is None else last_year
    is_seed_edge = np.maximum(years[citing], years[cited]) <= last_seed_year
    in_network = np.zeros(len(years), bool)
    in_network[citing[is_seed_edge]] = in_network[cited[is_seed_edge]] = True
    if not in_network.any():
        raise ValueError(f"last_seed_year={last_seed_year}: there is no reference between papers "
                         "published up to then; use a later year")
    is_later = (years > last_seed_year) & (years <= last_year)
    num_references = np.bincount(citing, minlength=len(years))
    in_network |= is_later & (num_references > 0)
    listed = np.argsort(years, kind="stable")
    position = np.empty(len(years), np.int64)
    position[listed] = np.arange(1, len(years) + 1)
    papers = listed[in_network[listed]]
    num_seeds = int(np.sum(years[papers] <= last_seed_year))
    number = np.full(len(years), -1)
    number[papers] = np.arange(len(papers))
    edges = np.stack([number[citing[is_seed_edge]], number[cited[is_seed_edge]]])
    edges = edges[:, np.lexsort(edges[::-1])]
    counts = num_references[papers]
    counts[:num_seeds] = np.bincount(edges[0], minlength=num_seeds)
    clock = np.maximum(years - last_seed_year, 0)
    arrivals = Arrivals(
        clock[papers].astype(np.int32), counts.astype(np.int32), num_seeds,
        edges[1].astype(np.int32),
        np.concatenate([[0], np.cumsum(counts[:num_seeds])]).astype(np.int32),
        position[papers].astype(np.int32), np.bincount(clock).astype(np.int32))
    check(arrivals, distinct=True)
    return arrivals, papers
