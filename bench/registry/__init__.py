"""Finds the objects that a text names: methods, tasks, meters and executors, built in, in a file or in a package."""
