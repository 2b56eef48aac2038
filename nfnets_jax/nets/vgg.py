"""Plain convolutional networks of small images, after arXiv 1409.1556: VGG."""

from collections.abc import Sequence

import haiku as hk
import jax

from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.conv import Conv2D, max_pool
from nfnets_jax.nets.heads import Linear
from nfnets_jax.nets.layers import check_images
from nfnets_jax.nets.mlp import DENSE_INITIALIZERS, classify
from nfnets_jax.nets.normalization import make_norm


class VGG(hk.Module):
    """Stages of 3x3 convolutions and a 2x2 max-pool each, hidden layers, and a linear classifier.

    Every convolution and every hidden matrix is followed by a norm and the activation, and has no
    bias beside the norm's offset. The classifier's weights start as N(0, 1 / fan_in).
    """

    def __init__(
        self,
        num_classes: int | None,
        widths: Sequence[int],
        depths: Sequence[int],
        hidden_widths: Sequence[int],
        activation: str,
        weight_init: str,
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
          widths: channels of the convolutions of each stage.
          depths: number of convolutions of each stage.
          hidden_widths: of the fully connected layers before the classifier.
          activation: a name from `activation_names()`.
          weight_init: of convolutions and hidden layers, 'he' or 'lecun'.
          norm: with what follows, see `make_norm`.
          norm_classifier: whether the logits are normalized as well, instead of having a bias.
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
        self.depths = depths
        self.hidden_widths = hidden_widths
        self.activation = find_activation(activation, scaled=False)
        self.weight_init = weight_init
        self.norm = make_norm(norm, num_groups=num_groups, ghost_size=ghost_size,
                              decay_rate=bn_decay_rate, eps=bn_eps,
                              cross_replica_axis=cross_replica_axis)
        self.norm_classifier = norm_classifier

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies float images [N, H, W, C]; see `nets.create`.

        The features are the activations of the last hidden layer.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        check_images(images)
        x, index = images, 0
        for width, depth in zip(self.widths, self.depths, strict=True):
            for _ in range(depth):
                x = Conv2D(width, 3, w_init=self.weight_init, name=f"conv{index}")(x)
                x = self.activation(self.norm(x, is_training, name=f"bn{index}"))
                index += 1
            x = max_pool(x, 2, 2, "VALID")
        x = x.reshape(len(x), -1)
        init = DENSE_INITIALIZERS[self.weight_init]
        for i, width in enumerate(self.hidden_widths):
            x = Linear(width, with_bias=False, w_init=init, name=f"hidden_{i}")(x)
            x = self.activation(self.norm(x, is_training, name=f"hidden_bn{i}"))
        outputs = classify(x, self.num_classes, DENSE_INITIALIZERS["lecun"],
                           with_bias=not self.norm_classifier)
        if self.norm_classifier and "logits" in outputs:
            outputs["logits"] = self.norm(outputs["logits"], is_training, name="classifier_bn")
        return outputs
