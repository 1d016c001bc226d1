"""Figures for papers and for the page: each function takes and returns an `ax`."""
