"""Figures of one setting of a comparison: each module has `drawings(setting, width)`."""
