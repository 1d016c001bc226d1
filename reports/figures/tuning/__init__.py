"""Figures of searches for hyper-parameters: each module has `drawings(source, width)`, the source being a `Tuning`."""
