"""Figures of one task at several K: each module has `drawings(setting, width)`, the panel's columns being sizes."""
