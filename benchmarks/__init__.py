"""Benchmarks of this project: its speed against peers and bare loops, and simulations behind its statistics.

Each module says at its top which question it answers, the command, how long it takes, and what it needs of the machine.
"""
