"""Figures for papers and for the page, drawn by seaborn.

A figure is one file: a module in `comparison/` (drawn for each setting of a comparison), `sizes/` (for each task that
was run at several K), `tuning/` (for each setting whose hyper-parameters were searched) or `gates/` (for a study of
gates), with a function `drawings`. `registry.py` discovers it.
"""
