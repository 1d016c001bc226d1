"""What is said about finished runs: statistics, tables, figures. Reads records, runs nothing."""
