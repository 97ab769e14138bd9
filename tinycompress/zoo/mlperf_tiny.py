"""The four architectures of the MLPerf Tiny benchmark (v0.5 and later), as published in its reference code.

MACs and parameters equal the published models: see `tinycompress.zoo.ZOO`. Their softmax is left out: logits come out.
"""

from __future__ import annotations

import itertools

from torch import nn

from tinycompress.zoo.blocks import GlobalPool, conv_bn


class _ResidualStage(nn.Module):
    """Two 3x3 convolutions and a shortcut, 1x1 when the stage changes shape; `size` is the input's h = w."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, size: int) -> None:
        super().__init__()
        inner = size // stride
        self.first = conv_bn(channels_in, channels_out, 3, stride, size=(size, size))
        self.second = conv_bn(channels_out, channels_out, 3, size=(inner, inner), activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride)
        self.act = nn.ReLU()

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.act(self.shortcut(x) + self.second(self.first(x)))


def resnet8() -> nn.Module:
    """ResNet-8 for 32x32x3, 10 classes: one stage each of 16, 32 and 64 channels."""
    return nn.Sequential(
        conv_bn(3, 16, 3, size=(32, 32)),
        _ResidualStage(16, 16, 1, 32),
        _ResidualStage(16, 32, 2, 32),
        _ResidualStage(32, 64, 2, 16),
        GlobalPool(),
        nn.Linear(64, 10),
    )


def _separable(channels_in: int, channels_out: int, stride: int, size: tuple[int, int]) -> list[nn.Module]:
    inner = (-(-size[0] // stride), -(-size[1] // stride))
    return [
        conv_bn(channels_in, channels_in, 3, stride, groups=channels_in, size=size),
        conv_bn(channels_in, channels_out, 1, size=inner),
    ]


def ds_cnn() -> nn.Module:
    """DS-CNN small: a 10x4 convolution at stride 2, four depthwise-separable blocks of 64 channels, 12 classes."""
    layers: list[nn.Module] = [conv_bn(1, 64, (10, 4), 2, size=(49, 10)), nn.Dropout(0.2)]
    for _ in range(4):
        layers += _separable(64, 64, 1, (25, 5))
    return nn.Sequential(*layers, nn.Dropout(0.4), GlobalPool(), nn.Linear(64, 12))


def mobilenet_v1_025() -> nn.Module:
    """MobileNetV1 with width 0.25 for 96x96x3, 2 classes."""
    layers: list[nn.Module] = [conv_bn(3, 8, 3, 2, size=(96, 96))]
    channels, size = 8, 48
    for out, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        layers += _separable(channels, out, stride, (size, size))
        channels, size = out, size // stride
    return nn.Sequential(*layers, GlobalPool(), nn.Linear(256, 2))


def ad_autoencoder() -> nn.Module:
    """Autoencoder of 640 log-mel values: four layers of 128, a bottleneck of 8, and back."""
    layers: list[nn.Module] = []
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)
    for channels_in, channels_out in itertools.pairwise(widths):
        layers += [nn.Linear(channels_in, channels_out), nn.BatchNorm1d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640))
