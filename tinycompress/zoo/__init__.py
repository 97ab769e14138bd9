"""Reference architectures: nn.Module factories and what is published about them; torch is imported to build one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinycompress.ir.graph import Preprocess

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ZooNetwork:
    """One architecture.

    `factory` is ``module:function`` below this package; `input_shape` is torch's, batch of 1 first. `macs` and
    `parameters` (after batch-norm folding, weights and biases) are the published figures, or our own count for
    networks nobody published. `is_deployable` is False for those that only compression brings below 512 KB of weights.
    """

    name: str
    factory: str
    input_shape: tuple[int, ...]
    macs: int
    parameters: int
    about: str
    preprocess: Preprocess = field(default_factory=Preprocess)
    is_deployable: bool = True

    def build(self) -> torch.nn.Module:
        """A freshly initialised module that knows its `input_shape` and `preprocess`; logits out, no softmax."""
        module, function = self.factory.split(":")
        built: Any = getattr(importlib.import_module(f"{__name__}.{module}"), function)()
        built.input_shape, built.preprocess = self.input_shape, self.preprocess
        network: torch.nn.Module = built
        return network


_UNIT_IMAGE = Preprocess(scale=1 / 255, value_range=(0.0, 255.0))

ZOO: dict[str, ZooNetwork] = {
    network.name: network
    for network in (
        ZooNetwork(
            "resnet8",
            "mlperf_tiny:resnet8",
            (1, 3, 32, 32),
            12_501_632,
            77_706,
            "MLPerf Tiny image classification: ResNet-8 for CIFAR-10",
            _UNIT_IMAGE,
        ),
        ZooNetwork(
            "ds_cnn",
            "mlperf_tiny:ds_cnn",
            (1, 1, 49, 10),
            2_656_768,
            22_604,
            "MLPerf Tiny keyword spotting: DS-CNN on 49 frames of 10 MFCC, 12 words",
        ),
        ZooNetwork(
            "mobilenet_v1_025",
            "mlperf_tiny:mobilenet_v1_025",
            (1, 3, 96, 96),
            7_489_664,
            210_850,
            "MLPerf Tiny visual wake words: MobileNetV1 0.25 at 96x96, person or not",
            _UNIT_IMAGE,
        ),
        ZooNetwork(
            "ad_autoencoder",
            "mlperf_tiny:ad_autoencoder",
            (1, 640),
            264_192,
            265_864,
            "MLPerf Tiny anomaly detection: fully connected autoencoder on 5 x 128 log-mel",
        ),
        ZooNetwork(
            "mnist_small",
            "mnist:mnist_small",
            (1, 1, 28, 28),
            756_016,
            14_562,
            "the demo: handwritten digits in under 16 KB of weights and 8 KB of arena",
            _UNIT_IMAGE,
        ),
        ZooNetwork(
            "mnist_wide",
            "mnist:mnist_wide",
            (1, 1, 28, 28),
            1_642_056,
            32_206,
            "what the demo prunes: mnist_small one and a half times as wide",
            _UNIT_IMAGE,
        ),
        ZooNetwork(
            "resnet20",
            "cifar:resnet20",
            (1, 3, 32, 32),
            40_813_184,
            271_690,
            "ResNet-20 for CIFAR-10",
            _UNIT_IMAGE,
        ),
        ZooNetwork(
            "resnet56",
            "cifar:resnet56",
            (1, 3, 32, 32),
            125_747_840,
            853_642,
            "ResNet-56 for CIFAR-10",
            _UNIT_IMAGE,
            is_deployable=False,
        ),
        ZooNetwork(
            "vgg11",
            "cifar:vgg11",
            (1, 3, 32, 32),
            152_769_536,
            9_225_610,
            "VGG-11 with batch norm for CIFAR-10",
            _UNIT_IMAGE,
            is_deployable=False,
        ),
        ZooNetwork(
            "mobilenet_v2",
            "cifar:mobilenet_v2",
            (1, 3, 32, 32),
            87_976_448,
            2_219_626,
            "MobileNetV2 for CIFAR-10",
            _UNIT_IMAGE,
            is_deployable=False,
        ),
    )
}
"""Every network, by name."""


def __getattr__(name: str) -> Callable[[], torch.nn.Module]:
    """Networks as factories, so that ``tinycompress.zoo:resnet8`` names one."""
    if name in ZOO:
        return ZOO[name].build
    raise AttributeError(f"the zoo has no {name!r}; it has {', '.join(ZOO)}")
