"""What a network costs: memory, flash, MACs, instructions. One formula each, on ints and torch scalars."""
