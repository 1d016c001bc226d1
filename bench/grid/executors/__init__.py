"""The executors: each file of this folder but `executor.py`, the contract, is one, and has the executor's name."""
