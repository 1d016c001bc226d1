"""The contract that every method keeps, as a suite that `bench check` and `bench.check(method)` run."""
