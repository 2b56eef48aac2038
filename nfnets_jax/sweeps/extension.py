"""Widening a sweep where the best learning rate lies at the edge of the grid."""

from collections.abc import Sequence

from ml_collections import config_dict

from nfnets_jax.analysis import scoring
from nfnets_jax.sweeps.grid import Overrides
from nfnets_jax.sweeps.plan import Plan, make_plan
from nfnets_jax.sweeps.table import Table

# How many learning rates are added to an edge at a time.
COUNT = 2


def widen(table: Table, *, best_k: int | None, select_on: str) -> list[Overrides]:
    """The runs that continue the grid beyond each edge that holds an optimum.

    Args:
      table: of the sweep so far, whose learning rate is varied.
      best_k, select_on: as for `scoring.score`.

    Returns:
      Learning rates in the ratio of the grid's last two, each with all seeds of its group; empty if
      every optimum is inside.

    Raises:
      ValueError: as `scoring.score`.
    """
    scores = scoring.score(table, select_on, best_k)
    wider = []
    for group in scores.groups:
        seeds = dict.fromkeys(row.get("seed") for cell in group.cells for row in cell.rows)
        for rate in scoring.suggest_learning_rates(group, COUNT):
            wider += [{**group.fields, scores.rate_field: rate,
                       **({} if seed is None else {"seed": seed})} for seed in seeds]
    return wider


def extend(config: config_dict.ConfigDict, plan: Plan, wider: Sequence[Overrides],
           device_count: int) -> Plan:
    """The plan with more runs behind those that it has; see `plan.make_plan`."""
    return make_plan(config, [cell.overrides for cell in plan.cells] + list(wider), device_count)
