"""Orders, placements, views, state and budgets of the planner."""

from __future__ import annotations

import pytest

from tests.unit.plan.networks import Net, mixed, recurrent, residual
from tinycompress.cost.order import all_orders, best_order
from tinycompress.cost.working_set import Buffer, Task, Workload, live_bytes, peak
from tinycompress.errors import BudgetError, UnsupportedOpError
from tinycompress.ir import ops as o
from tinycompress.kernels import KERNELS
from tinycompress.plan import plan
from tinycompress.plan.place import place


def _layered(levels: int, width: int) -> Workload:
    """`levels` layers of `width` independent branches that meet in one task each level."""
    tasks, sizes, last = [], {"x": 64}, "x"
    for level in range(levels):
        made = []
        for branch in range(width):
            wide, thin = f"w{level}.{branch}", f"t{level}.{branch}"
            sizes |= {wide: 40 + 8 * branch, thin: 8}
            tasks += [Task(wide, (last,), (wide,)), Task(thin, (wide,), (thin,))]
            made.append(thin)
        last = f"y{level}"
        sizes[last] = 64
        tasks.append(Task(last, tuple(made), (last,)))
    return Workload(tuple(tasks), sizes, ("x",), frozenset({last}))


def test_exact_order_equals_the_best_of_all_orders() -> None:
    work = _layered(1, 3)
    found = best_order(work)
    assert found.is_optimal
    assert found.peak == min(peak(work, order) for order in all_orders(work))


def test_order_beyond_the_state_budget_is_named_with_its_bound() -> None:
    work = _layered(4, 6)
    exact, cut = best_order(work), best_order(work, budget=3)
    assert exact.method == "exact"
    assert cut.method in ("greedy", "as given")
    assert cut.lower_bound <= exact.peak <= cut.peak


def test_published_order_example() -> None:
    """METHODS B1.1: two branches through 16 channels; depth first peaks at 4608 B, breadth first at 8448 B."""
    sizes = {"x": 256, "a": 4096, "b": 256, "c": 4096, "d": 256, "y": 256}
    chain = (("x", "a"), ("a", "b"), ("x", "c"), ("c", "d"))
    tasks = tuple(Task(write, (read,), (write,)) for read, write in chain)
    work = Workload((*tasks, Task("y", ("b", "d"), ("y",), reusable=("b", "d"))), sizes, ("x",), frozenset({"y"}))
    assert best_order(work).peak == 4608
    assert peak(work, (0, 2, 1, 3, 4)) == 8448


def test_placement_reaches_its_bound_or_says_so() -> None:
    blocks = [Buffer(f"b{i}", i, i + 1, 4 * (1 + (i * 7) % 5)) for i in range(30)]
    bound = max(live_bytes(blocks, 31))
    placed = place(blocks, bound)
    assert placed.bytes >= bound
    assert placed.is_optimal == (placed.bytes == bound)


def test_reshape_is_a_view_and_needs_no_layer() -> None:
    made = plan(residual(), has_dsp=False)
    (view,) = made.views
    assert made.placements[view.output].view_of == view.inputs[0]
    assert made.placements[view.output].offsets[0] == made.placements[view.inputs[0]].offsets[0]
    assert view.name not in [layer.op.name for layer in made.layers]


def test_state_lives_outside_the_arena() -> None:
    made = plan(recurrent(), has_dsp=False)
    assert made.state_bytes == 10
    assert made.placements["h"].in_state


def test_padding_rows_are_one_per_zero_point_and_as_long_as_the_widest() -> None:
    made = plan(mixed(), has_dsp=False)
    assert made.padding_rows == ((3, 18),)
    assert made.weights_bytes == sum(layer.packed.weights_bytes for layer in made.layers) + 18


def test_ram_budget_names_the_excess_and_the_layer() -> None:
    made = plan(residual(), has_dsp=False)
    with pytest.raises(BudgetError) as caught:
        plan(residual(), has_dsp=False, ram_bytes=made.arena_bytes - 100, board="board 'tiny'")
    assert caught.value.code == "TC-B101"
    text = f"arena needs {made.arena_bytes} B, board 'tiny' has {made.arena_bytes - 100} B: over by 100 B at layer"
    assert text in str(caught.value)


def test_flash_budget_names_the_largest_layer() -> None:
    with pytest.raises(BudgetError) as caught:
        plan(residual(), has_dsp=False, flash_bytes=100)
    assert caught.value.code == "TC-B102"
    assert "the largest is layer" in str(caught.value)


def test_every_operator_without_a_kernel_is_named() -> None:
    kernels = {op: variants for op, variants in KERNELS.items() if op not in (o.Add, o.DepthwiseConv2D)}
    with pytest.raises(UnsupportedOpError) as caught:
        plan(residual(), kernels=kernels)
    assert caught.value.code == "TC-M502"
    for name in ("add3 (Add)", "add6 (Add)", "dw7 (DepthwiseConv2D)"):
        assert name in str(caught.value)


def test_graph_whose_input_is_its_output() -> None:
    net = Net("identity")
    x = net.input(4, 4, 2)
    made = plan(net.build(net.flatten(x)))
    assert made.arena_bytes == 32
    assert made.steps == ()
