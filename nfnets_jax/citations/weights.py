"""How attractive a paper is to the next one that arrives.

    ba              d + a      Price's model; the name is that of the authors' file
    additive        d + f
    multiplicative  (d + 1) f
    lbm             (d + 1) f exp(-gamma(n) |l - l'|)    locations uniform on the unit square
    lbm_g           the same, locations N(c, sd^2) around a centre c that jumps

where d is the in-degree of a paper, f its fitness, l its location, l' that of the new paper and n
the number of papers before it. The models are those of arXiv 2002.06628 as its authors' simulators
have them. Weights are kept as logarithms: exp(-gamma |l - l'|) underflows for nearly all papers.
"""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.citations.arrivals import Arrivals
from nfnets_jax.citations.sampling import log_exponential

MODELS = ("ba", "additive", "multiplicative", "lbm", "lbm_g")
WITH_LOCATIONS = ("lbm", "lbm_g")
# n -> gamma, the inverse of the distance at which influence has fallen to 1 / e.
GAMMAS = {"constant": lambda n: jnp.full_like(n, 5.0), "log": jnp.log, "sqrt": jnp.sqrt,
          "linear": lambda n: n}
FITNESS_LAWS = ("lomax", "pareto_type1")


def draw_log_fitness(key: jax.Array, num_papers: int, exponent: jax.Array | float,
                     law: str = "lomax") -> jax.Array:
    """Logarithms of the fitness of papers.

    Args:
      key: of the draw.
      num_papers: N.
      exponent: a > 0. At 1, the authors' choice, the mean is infinite.
      law: 'lomax', P(f > x) = (1 + x)^-a, which is what NumPy calls Pareto; or 'pareto_type1',
        P(f > x) = x^-a from 1 on.

    Returns:
      float32 [N].
    """
    # f = exp(E / a) - 1, or exp(E / a), where E is exponential.
    scaled = jnp.exp(log_exponential(jax.random.bits(key, (num_papers,)))) / exponent
    return scaled if law == "pareto_type1" else scaled + jnp.log(-jnp.expm1(-scaled))


def log_attraction(model: str, degrees: jax.Array, log_fitness: jax.Array,
                   attractiveness: jax.Array | float) -> jax.Array:
    """The logarithm of the part of the weights that does not depend on who arrives; elementwise."""
    degrees = jnp.asarray(degrees, jnp.float32)
    if model == "ba":
        return jnp.log(degrees + attractiveness)
    if model == "additive":
        return jnp.logaddexp(jnp.log(degrees), log_fitness)
    return jnp.log1p(degrees) + log_fitness


def center_jumps(arrivals: Arrivals, skip: int) -> np.ndarray:
    """The papers after which the centre of 'lbm_g' jumps, as the authors' simulator decides it.

    It is those whose place in the list of all papers, seeds included, is a multiple of S; where
    the multiple falls on a paper that has no references and so never arrives, there is no jump.

    Args:
      arrivals: of all papers.
      skip: S if positive. Otherwise minus a number of months, and S is their share of the papers
        of the current year, rounded down, at least 1.

    Returns:
      bool [N].

    Raises:
      ValueError: if `skip` is 0.
    """
    if skip == 0:
        raise ValueError("skip=0: must be a number of papers, or minus a number of months")
    positions, sizes = arrivals.positions, arrivals.papers_per_year
    positions = np.arange(1, len(arrivals.years) + 1) if positions is None else positions
    sizes = np.bincount(arrivals.years) if sizes is None else sizes
    interval = np.full(len(positions), skip)
    if skip < 0:
        interval = np.maximum(-skip * sizes.astype(np.int64)[arrivals.years] // 12, 1)
    return (positions % interval == 0) & (np.arange(len(positions)) >= arrivals.num_seeds)


def draw_locations(key: jax.Array, model: str, arrivals: Arrivals, sd: jax.Array | float,
                   skip: int) -> jax.Array:
    """Where papers are; seeds are uniform on the unit square, which has edges (no torus).

    The centre of 'lbm_g' begins at (1/2, 1/2). A jump after paper i adds N(0, ln(i + 1) / 10),
    which is a variance, to each coordinate.

    Args:
      key: of the draw.
      model: 'lbm' or 'lbm_g'.
      arrivals: of all papers.
      sd: of the papers around their centre; of 'lbm_g'.
      skip: as in `center_jumps`.

    Returns:
      float32 [N, 2].
    """
    key_uniform, key_center, key_paper = jax.random.split(key, 3)
    shape = (len(arrivals.years), 2)
    uniform = jax.random.uniform(key_uniform, shape)
    if model == "lbm":
        return uniform
    scale = np.where(center_jumps(arrivals, skip), np.sqrt(
        np.log(np.arange(1, shape[0] + 1)) / 10), 0).astype(np.float32)
    jumps = jnp.asarray(scale)[:, None] * jax.random.normal(key_center, shape)
    center = 0.5 + jnp.cumsum(jumps, axis=0) - jumps
    is_seed = np.arange(shape[0])[:, None] < arrivals.num_seeds
    return jnp.where(is_seed, uniform, center + sd * jax.random.normal(key_paper, shape))
