"""The parts of any method: their gates, effective parameters, compaction and deployment."""
