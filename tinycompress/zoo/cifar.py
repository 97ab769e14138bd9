"""Architectures for 32x32x3 images that compression papers report on: ResNet-20 and -56, VGG-11, MobileNetV2."""

from __future__ import annotations

from torch import nn

from tinycompress.zoo.blocks import GlobalPool, conv_bn


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 projection where the shape changes (He et al., option B)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(channels_in, channels_out, 3, stride)
        self.second = conv_bn(channels_out, channels_out, 3, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = conv_bn(channels_in, channels_out, 1, stride, activation=None)
        self.act = nn.ReLU()

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.act(self.shortcut(x) + self.second(self.first(x)))


def _resnet(blocks: int) -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 16)]
    channels = 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(blocks):
            layers.append(_BasicBlock(channels, width, stride if block == 0 else 1))
            channels = width
    return nn.Sequential(*layers, GlobalPool(), nn.Linear(64, 10))


def resnet20() -> nn.Module:
    """ResNet-20: three stages of three basic blocks, 16, 32 and 64 channels."""
    return _resnet(3)


def resnet56() -> nn.Module:
    """ResNet-56: three stages of nine basic blocks, 16, 32 and 64 channels."""
    return _resnet(9)


def vgg11() -> nn.Module:
    """VGG-11 with batch norm and one classifier layer, as used on CIFAR-10."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(conv_bn(channels, width))
            channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


class _InvertedResidual(nn.Module):
    """Expand by 1x1, filter by depthwise 3x3, project by 1x1; a shortcut where the shape allows."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_bn(channels_in, inner, 1, activation=nn.ReLU6))
        layers.append(conv_bn(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6))
        layers.append(conv_bn(inner, channels_out, 1, activation=None))
        self.body = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x):  # type: ignore[no-untyped-def]
        return x + self.body(x) if self.has_shortcut else self.body(x)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 for 32x32 images: the published blocks, with stride 1 in the stem and the second stage."""
    layers: list[nn.Module] = [conv_bn(3, 32, activation=nn.ReLU6)]
    channels = 32
    plan = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, count, stride in plan:
        for block in range(count):
            layers.append(_InvertedResidual(channels, width, stride if block == 0 else 1, expansion))
            channels = width
    layers.append(conv_bn(channels, 1280, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, GlobalPool(), nn.Linear(1280, 10))
