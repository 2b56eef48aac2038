"""Evolved exploration rates against the bands of the specification."""

import numpy as np

from nfnets_jax.games.exploration import RATES
from tests.tasks.norm_runs import ends


def test_exploration_evolves_to_less_where_coordination_is_needed():
    """Bands for 16 runs of 600 generations on 20 x 20; ours are half as many, and 450."""
    state, found = ends(
        "exploration_rates", "need_for_coordination", (0.0, 1.0), graph={"height": 20, "width": 20},
        num_replicas=8, num_generations=450, teacher_payoff="zero")
    for rate, (low, high) in zip(found["mean_rate"], ((0.148, 0.160), (0.083, 0.092)),
                                 strict=True):
        assert low < rate < high
    assert found["share_of_rate_0"][1] > 0.55 > found["share_of_rate_0"][0]
    # The means again, from the trajectories.
    late = state.rate_shares[:, 226:].mean(axis=1)
    np.testing.assert_allclose(late @ np.array(RATES), found["mean_rate"], rtol=1e-4)
    np.testing.assert_allclose(state.history.shares[:, 226:].mean(axis=(1, 2)),
                               found["time_on_better"], rtol=1e-4)
    assert found["time_on_better"][0] > 0.8 > found["time_on_better"][1]
