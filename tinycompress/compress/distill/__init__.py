"""Losses with a teacher, teachers by magnitude pruning, and the student widths that follow from them."""
