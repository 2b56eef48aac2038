"""A plain BYOL in PyTorch, written for comparison: ResNet-18, the same views, loss, LARS and EMA.

Everything is batched, as in this library: views are made on the device by the same operations, in
the same random order for each image, and the networks are channels-last.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

LUMA = (0.2989, 0.5870, 0.1140)


class Block(nn.Module):
    """relu(shortcut + bn(conv(relu(bn(conv)))))."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """Images [N, 3, H, W] to features [N, 512]."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
              nn.MaxPool2d(3, 2, 1)]
    width = 64
    for stage, channels in enumerate((64, 128, 256, 512)):
        for i in range(2):
            layers.append(Block(width, channels, 2 if stage and i == 0 else 1))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Linear, batch norm, ReLU, linear without a bias."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
                         nn.Linear(hidden, outputs, bias=False))


def make_view(images: torch.Tensor, blur: float, solarize: float) -> torch.Tensor:
    """One random view of images float [N, 3, H, W] in 0 .. 1, of the same size."""
    count, _, height, width = images.shape
    u = torch.rand(16, count)
    area = (0.08 + 0.92 * u[0]) * height * width
    aspect = torch.exp((2 * u[1] - 1) * math.log(4 / 3))
    w = (area * aspect).sqrt().round().clamp(1, width)
    h = (area / aspect).sqrt().round().clamp(1, height)
    left, top = (u[2] * (width - w + 1)).floor(), (u[3] * (height - h + 1)).floor()
    zero = torch.zeros(count)
    theta = torch.stack([
        torch.stack([w / width, zero, (2 * left + w) / width - 1], -1),
        torch.stack([zero, h / height, (2 * top + h) / height - 1], -1)], 1)
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    x = F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False).clamp(0, 1)
    x = torch.where((u[4] < 0.5)[:, None, None, None], x.flip(3), x)
    order = torch.rand(count, 4).argsort(-1)
    jittered = u[5] < 0.8
    changes = [strength * (2 * u[6 + i] - 1) for i, strength in enumerate((0.4, 0.4, 0.2, 0.1))]
    for place in range(4):
        change = [torch.where(jittered & (order[:, place] == i), c, zero)[:, None, None, None]
                  for i, c in enumerate(changes)]
        result = x + change[0] + change[1] * (x - x.mean((2, 3), keepdim=True))
        chosen = (jittered & (order[:, place] == 2))[:, None, None, None]
        value = x.amax(1, keepdim=True)
        spread = (value - x.amin(1, keepdim=True)).clamp(min=1e-12)
        factor = torch.minimum(1 + change[2], value / spread)
        result = torch.where(chosen, value - factor * (value - x), result)
        chosen = (jittered & (order[:, place] == 3))[:, None, None, None]
        x = torch.where(chosen, turn_hue(x, value, spread, change[3]), result).clamp(0, 1)
    luma = sum(weight * x[:, c:c + 1] for c, weight in enumerate(LUMA))
    x = torch.where((u[10] < 0.2)[:, None, None, None], luma, x)
    radius = int(height * 0.1 / 2)
    sigma = 0.1 + 1.9 * u[11]
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma[:, None]) ** 2)
    taps = (taps / taps.sum(-1, keepdim=True)).repeat_interleave(3, 0)
    flat = x.reshape(1, count * 3, height, width)
    flat = F.conv2d(flat, taps[:, None, :, None], padding=(radius, 0), groups=count * 3)
    flat = F.conv2d(flat, taps[:, None, None, :], padding=(0, radius), groups=count * 3)
    x = torch.where((u[12] < blur)[:, None, None, None], flat.reshape(x.shape), x)
    chosen = (u[13] < solarize)[:, None, None, None]
    return torch.where(chosen & (x >= 0.5), 1 - x, x)


def turn_hue(x, value, spread, shift):
    """Turns the hue of HSV; value and spread are those of x."""
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    hue = torch.where(red == value, (green - blue) / spread, torch.where(
        green == value, (blue - red) / spread + 2, (red - green) / spread + 4)) + 6 * shift
    channels = []
    for place in (5.0, 3.0, 1.0):
        k = (hue + place) % 6
        channels.append(value - spread * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.cat(channels, 1)


class Byol:
    """The networks, the optimizer's buffers, and one step."""

    def __init__(self, hidden: int, outputs: int):
        layout = dict(memory_format=torch.channels_last)
        self.online = nn.ModuleDict({
            "encoder": resnet18(), "projector": mlp(512, hidden, outputs)}).to(**layout)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = mlp(outputs, hidden, outputs)
        self.parameters = [*self.online.parameters(), *self.predictor.parameters()]
        self.buffers = [torch.zeros_like(p) for p in self.parameters]

    def step(self, images: torch.Tensor, learning_rate: float = 0.2) -> torch.Tensor:
        """Makes two views of images float [N, 3, H, W], and one update; returns the loss."""
        views = [make_view(images, 1.0, 0.0), make_view(images, 0.1, 0.2)]
        views = [((view - 0.45) / 0.225).contiguous(memory_format=torch.channels_last)
                 for view in views]
        predictions = [self.predictor(self._project(self.online, view)) for view in views]
        with torch.no_grad():
            targets = [self._project(self.target, view) for view in views]
        loss = sum((2 - 2 * F.cosine_similarity(p, z)).mean()
                   for p, z in zip(predictions, reversed(targets), strict=True))
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for p, g, buffer in zip(self.parameters, gradients, self.buffers, strict=True):
                if p.ndim > 1:
                    g = g + 1e-6 * p
                    g = g * (1e-3 * p.norm() / g.norm())
                buffer.mul_(0.9).add_(g)
                p.sub_(learning_rate * buffer)
            torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()),
                                 0.01)
        return loss.detach()

    @staticmethod
    def _project(networks, view):
        return networks["projector"](networks["encoder"](view))
