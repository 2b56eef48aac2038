"""Optimizers, as optax transformations, and learning-rate schedules."""

from nfnets_jax.optim.adaptive import adam_xi, nag, rmsprop_xi, with_step_size
from nfnets_jax.optim.adaptive_grad_clip import adaptive_grad_clip
from nfnets_jax.optim.choice import OPTIMIZERS, create_optimizer, optimizer_of
from nfnets_jax.optim.lars import lars, scale_by
from nfnets_jax.optim.schedules import SCHEDULES, create_schedule
from nfnets_jax.optim.sgd import decay_mask, sgd

__all__ = ["OPTIMIZERS", "SCHEDULES", "adam_xi", "adaptive_grad_clip", "create_optimizer",
           "create_schedule", "decay_mask", "lars", "nag", "optimizer_of", "rmsprop_xi", "scale_by",
           "sgd", "with_step_size"]
