"""The tables of a report, its summary, answers and notes."""
