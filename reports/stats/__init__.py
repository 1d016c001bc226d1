"""Statistics: pure functions on arrays of scores, costs and gate values."""
