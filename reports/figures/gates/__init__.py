"""Figures of a study of gates: each module has `drawings(source, width)`."""
