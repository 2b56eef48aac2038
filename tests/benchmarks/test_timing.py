"""The arithmetic of the benchmarks; nothing here is timed."""

import numpy as np
import pytest

from benchmarks import timing


def test_a_machine_that_drifts_steadily_leaves_the_ratio_alone():
    speed = np.linspace(10.0, 30.0, 9)  # of the machine, at each measurement
    ratios = timing.paired_ratios(between=list(0.9 * speed[1::2]), around=list(speed[::2]))
    np.testing.assert_allclose(ratios, [0.9] * 4, rtol=1e-12)


def test_a_measurement_without_its_neighbour_is_refused():
    with pytest.raises(ValueError, match="2 measurements need 3 around them, not 2"):
        timing.paired_ratios([1.0, 2.0], [1.0, 2.0])
