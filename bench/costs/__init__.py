"""Applies the meters: to a run, to a profile of several methods, and to a model before any training."""
