"""A fully connected classifier of small images, and the initializers of its weights."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.heads import Linear
from nfnets_jax.nets.layers import check_images

# Name of a weight initialization -> initializer of a matrix [fan_in, fan_out].
DENSE_INITIALIZERS = {
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
    features: jax.Array, num_classes: int | None, init: hk.initializers.Initializer
) -> dict[str, jax.Array]:
    """The result of a network: its features and, with classes, the logits of `classifier`.

    Args:
      features: [N, F].
      num_classes: number of logits; None for features only.
      init: of the classifier's weights.
    """
    features = features.astype(jnp.float32)
    if num_classes is None:
        return dict(features=features)
    logits = Linear(num_classes, with_bias=True, w_init=init, name="classifier")(features)
    return dict(logits=logits, features=features)


class FullyConnected(hk.Module):
    """Hidden layers act(W x + b) on the flattened images, and a linear classifier.

    Biases start at 0, the weights of the classifier as N(0, 1 / fan_in).
    """

    def __init__(
        self, num_classes: int | None, widths: Sequence[int], activation: str, weight_init: str,
        name: str,
    ):
        """Sets the hyperparameters.

        Args:
          num_classes: number of logits; None for a network that ends in its features.
          widths: of the hidden layers, in order.
          activation: a name from `activation_names()`.
          weight_init: of the hidden layers, a key of `DENSE_INITIALIZERS`: variance 2 / fan_in
            ('he') or 1 / fan_in ('lecun'), or orthonormal rows or columns, whichever are fewer.
          name: of the module.
        """
        super().__init__(name=name)
        self.num_classes = num_classes
        self.widths = widths
        self.activation = find_activation(activation, scaled=False)
        self.weight_init = weight_init

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies float images [N, H, W, C]; see `nets.create`.

        The features are the activations of the last hidden layer.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        del is_training
        x = flatten(images)
        init = DENSE_INITIALIZERS[self.weight_init]
        for i, width in enumerate(self.widths):
            x = self.activation(Linear(width, with_bias=True, w_init=init, name=f"hidden_{i}")(x))
        return classify(x, self.num_classes, DENSE_INITIALIZERS["lecun"])
