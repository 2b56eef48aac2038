"""Optimizers, as optax transformations, and learning-rate schedules."""

from nfnets_jax.optim.adaptive_grad_clip import adaptive_grad_clip
from nfnets_jax.optim.lars import lars, scale_by
from nfnets_jax.optim.schedules import SCHEDULES, create_schedule
from nfnets_jax.optim.sgd import decay_mask, sgd

__all__ = ["SCHEDULES", "adaptive_grad_clip", "create_schedule", "decay_mask", "lars", "scale_by",
           "sgd"]
