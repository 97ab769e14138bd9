"""Every architecture of the zoo: its groups, and that cutting them is what gating them computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tinycompress.compress.groups import find_groups
from tinycompress.compress.network import Network
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.verify import verify
from tinycompress.passes import prepare_for_training
from tinycompress.zoo import ZOO

EXPECTED_GROUPS = {"resnet8": 6, "ds_cnn": 5, "resnet20": 12, "resnet56": 30, "vgg11": 8}


@pytest.mark.parametrize("name", ZOO)
def test_cutting_a_zoo_network_is_gating_it(name: str) -> None:
    entry = ZOO[name]
    torch.manual_seed(0)
    graph = prepare_for_training(import_module(entry.build(), entry.input_shape, name, entry.preprocess))
    network = Network(graph, torch.device("cpu"))
    sizes = network.groups.widths()
    if name in EXPECTED_GROUPS:
        assert len(sizes) == EXPECTED_GROUPS[name]
    rng = np.random.default_rng(0)
    keep = {g: sorted(rng.permutation(n)[: max(1, n // 3)].tolist()) for g, n in sizes.items()}
    gates = {g: torch.zeros(n).index_fill(0, torch.tensor(keep[g]), 1.0) for g, n in sizes.items()}
    inputs = torch.randn(2, *graph.tensors[graph.input_names[0]].shape)
    network.set_gates(gates)
    masked = network.outputs(inputs)
    smaller, _ = network.smaller(keep, None)
    verify(smaller.graph())
    assert smaller.graph().parameters < 0.6 * graph.parameters
    tolerance = 1e-5 * max(1.0, float(masked.abs().max()))
    torch.testing.assert_close(smaller.outputs(inputs), masked, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("name", ZOO)
def test_what_is_frozen_in_the_zoo_is_input_or_output(name: str) -> None:
    entry = ZOO[name]
    graph = prepare_for_training(import_module(entry.build(), entry.input_shape, name, entry.preprocess))
    frozen = [g.frozen for g in find_groups(graph).all if g.frozen]
    assert all(why.startswith(("it is the graph input", "it reaches the graph output")) for why in frozen)
