"""Conformity on a lattice against the numbers of the specification."""

import numpy as np
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from tests.tasks.norm_runs import config_of, ends


def test_synchronous_conformists_take_longer():
    """Bands of the specification, of 6 runs on 50 x 50 with a shock at 80; ours is at 40."""
    _, found = ends("tipping_points", "conformity", (0.0, 0.4, 0.6), update="synchronous",
                    num_replicas=6, shock_generation=40, num_generations=90)
    for time, (low, high) in zip(found["t50"], ((6.5, 8.0), (10.5, 13.5), (25.0, 34.0)),
                                 strict=True):
        assert low < time < high
    np.testing.assert_array_equal(found["fraction_switched"], 1.0)
    # On a lattice all of it takes longer, the second half, too.
    assert (np.diff(found["t90"] - found["t50"]) > 0).all()


@pytest.mark.parametrize("rule", ["m1", "m2"])
def test_without_conformity_it_is_norm_change_without_need_for_coordination(rule):
    changes = {"graph": {"height": 30, "width": 30}, "num_replicas": 8, "shock_generation": 30,
               "num_generations": 60}
    _, found = ends("tipping_points", "conformity", (0.0,), rule=rule, **changes)
    assert found["t50"][0] == pytest.approx(6.1, abs=0.3)
    if rule == "m2":  # the same draws make the same decisions
        _, same = ends("norm_change", "need_for_coordination", (0.0,), **changes)
        np.testing.assert_allclose(found["t90"], same["t90"], rtol=1e-6)


@pytest.mark.parametrize("changes, message", [
    ({"conformity": 1.2}, "conformity=1.2: must be a number"),
    ({"rule": "m2", "mutation": "as_2017"}, "mutation='as_2017': belongs to rule=m1"),
    ({"rule": "m2", "need_for_coordination": 0.5}, "need_for_coordination=0.5: belongs to rule=m1"),
    ({"num_generations": 80}, "shock_generation=80: must be less than num_generations=80"),
])
def test_configs_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        tasks.create(config_of("tipping_points", **changes))
