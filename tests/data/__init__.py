"""Tests of `nfnets_jax.data`; a package, so that file names may recur in other folders."""
