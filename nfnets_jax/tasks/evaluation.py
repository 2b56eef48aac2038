"""What an evaluation of logits adds up."""

import jax
import jax.numpy as jnp
import optax

from nfnets_jax.tasks.task import Metrics
from nfnets_jax.training.mesh import DATA


def classification_sums(logits: jax.Array, batch: dict, loss_name: str = "loss") -> Metrics:
    """Sums of loss, accuracy and, for many classes, top-5 accuracy, over the devices.

    Args:
      logits: [N, classes].
      batch: label int32 [N] and mask float32 [N]; examples with mask 0 do not count.
      loss_name: under which the cross-entropy is reported.
    """
    labels, mask = batch["label"], batch["mask"]
    metrics = {
        loss_name: optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        "accuracy": jnp.argmax(logits, axis=-1) == labels,
        "count": jnp.ones_like(mask),
    }
    if logits.shape[-1] > 10:
        _, best = jax.lax.top_k(logits, 5)
        metrics["top_5_accuracy"] = jnp.any(best == labels[:, None], axis=-1)
    return jax.lax.psum(
        {k: jnp.sum(jnp.where(mask > 0, v, 0.0)) for k, v in metrics.items()}, DATA)
