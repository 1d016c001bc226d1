"""Meters: each measures one cost of a callable, a model or a phase, and agrees with a reference.

They know nothing of grids, tasks or methods. A figure is measured, or marked as an estimate with its
source, or None with a reason. Import the module you need; nothing heavy is imported here.
"""
