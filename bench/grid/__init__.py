"""Many runs: the plan, the executor, the worker and the display of progress."""
