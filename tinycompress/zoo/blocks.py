"""Layers the architectures share."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from tinycompress.ir.shapes import same_padding


def conv_bn(
    channels_in: int,
    channels_out: int,
    kernel: int | tuple[int, int] = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    size: tuple[int, int] | None = None,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm and activation.

    With `size` (h, w of the input) the padding is TensorFlow's SAME, which a stride makes asymmetric; without it half
    the kernel on every side.
    """
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = (kh // 2, kw // 2)
    if size is not None:
        top, bottom = same_padding(size[0], kh, stride)
        left, right = same_padding(size[1], kw, stride)
        padding = (top, left)
        if (top, left) != (bottom, right):
            layers["pad"] = nn.ZeroPad2d((left, right, top, bottom))
            padding = (0, 0)
    layers["conv"] = nn.Conv2d(channels_in, channels_out, (kh, kw), stride, padding, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(channels_out)
    if activation is not None:
        layers["act"] = activation()
    return nn.Sequential(layers)


class GlobalPool(nn.Module):
    """Mean over the image, flattened to `[batch, channels]`."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.flatten(self.pool(x))
