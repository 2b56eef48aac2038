"""A fully connected classifier of small images, and the initializers of its weights."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.heads import Linear
from nfnets_jax.nets.layers import check_images
from nfnets_jax.nets.normalization import make_norm

# Name of a weight initialization -> initializer of a matrix [fan_in, fan_out].
DENSE_INITIALIZERS = {
    "glorot": hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform"),
    "he": hk.initializers.VarianceScaling(2.0, "fan_in", "normal"),
    "lecun": hk.initializers.VarianceScaling(1.0, "fan_in", "normal"),
    "orthogonal": hk.initializers.Orthogonal(),
}


def flatten(images: jax.Array) -> jax.Array:
    """[N, H, W, C] to [N, H W C].

    Raises:
      ValueError: if the images are not a floating-point array of rank 4.
    """
    check_images(images)
    return images.reshape(len(images), -1)


def classify(
    features: jax.Array, num_classes: int | None, init: hk.initializers.Initializer,
    with_bias: bool = True,
) -> dict[str, jax.Array]:
    """The result of a network: its features and, with classes, the logits of `classifier`.

    Args:
      features: [N, F].
      num_classes: number of logits; None for features only.
      init: of the classifier's weights.
      with_bias: whether the classifier has a bias, initially 0.
    """
    features = features.astype(jnp.float32)
    if num_classes is None:
        return dict(features=features)
    logits = Linear(num_classes, with_bias, w_init=init, name="classifier")(features)
    return dict(logits=logits, features=features)


class FullyConnected(hk.Module):
    """Hidden layers act(norm(W x + b)) on the flattened images, and a linear classifier.

    Biases start at 0.
    """

    def __init__(
        self,
        num_classes: int | None,
        widths: Sequence[int],
        activation: str,
        weight_init: str,
        first_init: str,
        classifier_init: str,
        with_bias: bool,
        norm: str,
        norm_classifier: bool,
        num_groups: int,
        ghost_size: int,
        bn_decay_rate: float,
        bn_eps: float,
        cross_replica_axis: str | None,
        name: str,
    ):
        """Sets the hyperparameters.

        Args:
          num_classes: number of logits; None for a network that ends in its features.
          widths: of the hidden layers, in order.
          activation: a name from `activation_names()`.
          weight_init: of the hidden layers, a key of `DENSE_INITIALIZERS`: normal with variance
            2 / fan_in ('he') or 1 / fan_in ('lecun'), uniform with variance 2 / (fan_in + fan_out)
            ('glorot'), or orthonormal rows or columns, whichever are fewer.
          first_init: likewise, of the first hidden layer; 'same' for `weight_init`.
          classifier_init: likewise, of the classifier.
          with_bias: whether the matrices, that of the classifier too, are followed by a bias.
          norm: after each hidden matrix; with what follows, see `make_norm`, except that 'none'
            leaves no scale and offset behind.
          norm_classifier: whether the logits are normalized as well.
          num_groups: of norm='group'.
          ghost_size: of norm='ghost_batch'.
          bn_decay_rate: of the moving averages of batch statistics.
          bn_eps: added to the variance.
          cross_replica_axis: of norm='batch'.
          name: of the module.
        """
        super().__init__(name=name)
        self.num_classes = num_classes
        self.widths = widths
        self.activation = find_activation(activation, scaled=False)
        self.weight_init = weight_init
        self.first_init = weight_init if first_init == "same" else first_init
        self.classifier_init = classifier_init
        self.with_bias = with_bias
        self.norm_classifier = norm_classifier
        self.norm = None
        if norm != "none":
            self.norm = make_norm(norm, num_groups=num_groups, ghost_size=ghost_size,
                                  decay_rate=bn_decay_rate, eps=bn_eps,
                                  cross_replica_axis=cross_replica_axis)

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies float images [N, H, W, C]; see `nets.create`.

        The features are the activations of the last hidden layer.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        x = flatten(images)
        for i, width in enumerate(self.widths):
            init = DENSE_INITIALIZERS[self.weight_init if i else self.first_init]
            x = Linear(width, self.with_bias, w_init=init, name=f"hidden_{i}")(x)
            if self.norm is not None:
                x = self.norm(x, is_training, name=f"bn{i}")
            x = self.activation(x)
        outputs = classify(
            x, self.num_classes, DENSE_INITIALIZERS[self.classifier_init], self.with_bias)
        if self.norm_classifier and "logits" in outputs:
            outputs["logits"] = self.norm(outputs["logits"], is_training, name="classifier_bn")
        return outputs
