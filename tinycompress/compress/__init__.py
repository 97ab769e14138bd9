"""Compression to a budget: channel groups, pruning while training, distillation, the stages of `run.compress`."""
