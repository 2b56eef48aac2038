"""The network of `benchmarks.analysis_gram` in PyTorch, and its Gram matrices by the peers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap


class Block(nn.Module):
    """s(x) + conv1(relu(conv0(relu(x)))), the shortcut s a convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, 1 if stride == 1 else 0, bias=False)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.conv_shortcut = None
        if stride > 1 or inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        h = F.relu(x)
        # XLA's 'SAME' pads an even image at its end alone.
        out = self.conv0(h if self.stride == 1 else F.pad(h, (0, 1, 0, 1)))
        out = self.conv1(F.relu(out))
        return out + (x if self.conv_shortcut is None else self.conv_shortcut(h))


class WideResNet(nn.Module):
    """Images [N, 3, 32, 32] to logits [N, 10]."""

    def __init__(self, depth: int, width: int):
        super().__init__()
        self.initial_conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        blocks, channels = [], 16
        for stage in range(3):
            for i in range((depth - 4) // 6):
                outputs = 16 * width * 2**stage
                blocks.append(Block(channels, outputs, 2 if stage and i == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, x):
        return self.classifier(F.relu(self.blocks(self.initial_conv(x))).mean((2, 3)))


def with_weights_of(params: dict, depth: int, width: int) -> WideResNet:
    """The network with the parameters of ours."""
    network = WideResNet(depth, width).to(memory_format=torch.channels_last)
    for path, values in params.items():
        module = network
        for name in path.split("/")[1:]:
            module = network.blocks[int(name[6:])] if name.startswith("block_") else getattr(
                module, name)
        for name, value in values.items():
            value = np.asarray(value)
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            getattr(module, dict(w="weight", b="bias")[name]).data.copy_(torch.tensor(value))
    return network


def gram_by_func(network: WideResNet, images: torch.Tensor, labels: torch.Tensor, block: int):
    """torch.func: vmap(grad) in blocks of examples, then one product for each parameter."""
    params = dict(network.named_parameters())

    def loss(params, image, label):
        return F.cross_entropy(functional_call(network, params, (image[None],)), label[None])

    gradients = vmap(grad(loss), (None, 0, 0))
    blocks = [gradients(params, images[i:i + block], labels[i:i + block])
              for i in range(0, len(images), block)]
    rows = (torch.cat([each.pop(name) for each in blocks]).flatten(1) for name in params)
    return sum(row @ row.T for row in rows).detach()


def gram_by_torchjd(engine, network: WideResNet, images: torch.Tensor, labels: torch.Tensor):
    """TorchJD's engine, which forms the Jacobian of one layer at a time."""
    return engine.compute_gramian(
        F.cross_entropy(network(images), labels, reduction="none")).detach()
