"""The demo network: handwritten digits within 16 KB of weights and 8 KB of arena."""

from __future__ import annotations

from torch import nn

from tinycompress.zoo.blocks import GlobalPool, conv_bn


def mnist_small() -> nn.Module:
    """Four plain convolutions for 28x28x1, 10 classes: 5x5 at stride 2, 3x3 at stride 2, and twice 3x3.

    The stride of the first layer keeps the live set small: 784 B of input and 3 136 B behind it. The weights sit where
    the image is 7x7 and a multiplication per weight is cheap.
    """
    return nn.Sequential(
        conv_bn(1, 16, 5, 2),
        conv_bn(16, 24, 3, 2),
        conv_bn(24, 24, 3),
        conv_bn(24, 24, 3),
        GlobalPool(),
        nn.Linear(24, 10),
    )


def mnist_wide() -> nn.Module:
    """`mnist_small` one and a half times as wide: what the demo prunes to its budget, and its teacher."""
    return nn.Sequential(
        conv_bn(1, 24, 5, 2),
        conv_bn(24, 36, 3, 2),
        conv_bn(36, 36, 3),
        conv_bn(36, 36, 3),
        GlobalPool(),
        nn.Linear(36, 10),
    )
