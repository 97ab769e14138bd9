"""Which channels go: differentiable widths, criteria, repair to the budget, hooks into training."""
