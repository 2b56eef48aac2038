"""Means over seeds, and pooled shares, of the sweeps of this study."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nfnets_jax.citations.metrics import MERGED
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.sweeps.table import Row, Table

FIELDS = ("model", "gamma", "skip", "sd", "fitness_exponent", "sampler", "papers_per_step")
NICKNAMES = tuple(name.replace(" ", "_") for name in MERGED)[:-1]
HEADER = ("", "n_good", "largest in-degree", "top 1%", *CATEGORIES)


def select(table: Table, settings: Mapping[str, Any]) -> list[Row]:
    """The runs with these values, one for each seed."""
    return [row for row in table.rows
            if all(row[field] == value for field, value in settings.items())]


def mean(rows: Iterable[Row], metric: str) -> float:
    """The mean over runs, without those that have no such number; NaN if none has."""
    values = [row[f"test_{metric}"] for row in rows]
    values = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")


def pooled(rows: Sequence[Row], names: Sequence[str] = CATEGORIES) -> dict[str, float]:
    """Shares of categories in percent of the papers of all runs that have one."""
    good = np.array([row["test_num_good"] for row in rows], float)
    return {name: float(100 * sum(n * row[f"test_share_{name}"] for n, row in zip(
        good, rows, strict=True) if n) / good.sum()) if good.sum() else float("nan")
        for name in names}


def classified(rows: Sequence[Row]) -> dict[str, float]:
    """Percent of early, late, frequent and steady risers among those that are not Oth, pooled."""
    shares = pooled(rows)
    total = 100 - shares["Oth"]
    groups = [sum(shares[category.name] for category in group) for group in MERGED.values()]
    return {name: 100 * share / total if total else float("nan")
            for name, share in zip(NICKNAMES, groups[:-1], strict=True)}


def markdown(table: Table) -> list[str]:
    """A table: one line per setting, shares in percent as means over seeds (and their s.d.)."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    fields = [field for field in FIELDS if field in table.rows[0]]
    for values in dict.fromkeys(tuple(row[field] for field in fields) for row in table.rows):
        settings = dict(zip(fields, values, strict=True))
        rows = select(table, settings)
        cells = [", ".join(f"{field} {value}" for field, value in settings.items()
                           if value is not None),
                 f"{mean(rows, 'num_good'):.0f}", f"{mean(rows, 'max_in_degree'):.0f}",
                 f"{mean(rows, 'top_1_percent_share'):.2f}"]
        for name in CATEGORIES:
            shares = [row[f"test_share_{name}"] for row in rows]
            shares = [100 * share for share in shares if share is not None and np.isfinite(share)]
            cells.append(f"{np.mean(shares):.1f} ({np.std(shares, ddof=1):.1f})"
                         if len(shares) > 1 else "NaN")
        lines.append(f"| {' | '.join(cells)} |")
    return lines
