"""Synchronous generations of 100,000 well-mixed agents on both sides of a tipping point.

Of our reconstruction: each agent conforms with probability k to the majority of n = 4 others,
keeping its norm after a tie, and otherwise imitates by the Fermi rule, s = 5, with a payoff gap of
1 and no mutation. A generation is two binomial draws, exact for any N. The infinite population is

    p <- p + (1 - k) p (1 - p) tanh(s / 2) + k (C_4(p) - p)

whose unstable fixed point p* is the tipping point. Nothing of it is known to be in arXiv
1804.07406, of which only the abstract could be read.
"""

import numpy as np

from nfnets_jax.games import chains, events, mean_field

SIZE, STRENGTH, NUM_MODELS = 100_000, 5.0, 4
# k -> p*, to six digits, by another program.
TIPPING = {0.5: 0.134200, 0.6: 0.297929, 0.7: 0.375915, 0.8: 0.428912, 0.9: 0.468626}


def measure(k: float, distance: float = 0.03, num_replicas: int = 10, num_generations: int = 60,
            seed: int = 3) -> tuple[float, np.ndarray, float]:
    """Starts populations below and above the tipping point.

    Args:
      k: conformity.
      distance: of the two starts from p*.
      num_replicas: R, at each start.
      num_generations: of each.
      seed: of NumPy's generator.

    Returns:
      tipping: p*.
      ends: [2, R], final shares from below and from above.
      deviation: the largest distance between a generation and the map of the one before.
    """
    flow = mean_field.conformist_flow(k, mean_field.fermi_advantage(STRENGTH), NUM_MODELS)
    tipping = next(point.share for point in mean_field.fixed_points(flow)
                   if 0 < point.share < 1 and not point.is_stable)
    # Two norms that pay 0 and 1 whoever the partner is.
    chain = chains.conformity_chain(
        np.array([[0.0, 0.0], [1.0, 1.0]]), SIZE, STRENGTH, k, NUM_MODELS)
    shares = np.stack([events.synchronous_counts(
        seed, chain, initial=round((tipping + side * distance) * SIZE),
        num_replicas=num_replicas, num_generations=num_generations) / SIZE for side in (-1, 1)])
    before, after = shares[:, :-1], shares[:, 1:]
    return tipping, shares[:, -1], float(np.max(np.abs(after - before - flow(before))))
