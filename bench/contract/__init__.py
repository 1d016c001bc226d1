"""The promises of methods, meters and executors, as suites that an author runs with `bench check` or from Python."""
