"""A small, immutable, batch-free graph of tensors and operators, on numpy alone (DESIGN section 4)."""
