"""Plans: operator order, row program, arena placement, a kernel per layer; all checked by an independent checker."""

from tinycompress.plan.model import ARENA_ALIGN, LayerPlan, OverBudget, Placement, Plan, Step
from tinycompress.plan.planner import plan

__all__ = ["ARENA_ALIGN", "LayerPlan", "OverBudget", "Placement", "Plan", "Step", "plan"]
