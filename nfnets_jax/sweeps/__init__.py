"""Sweeps: many runs of one config, planned as few programs, with one table of results.

The functions for writing a config's `get_sweep()`.
"""

from nfnets_jax.sweeps.grid import powers, product, zipped

__all__ = ["powers", "product", "zipped"]
