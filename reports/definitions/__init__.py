"""The figures that tables and figures show, by subject; `reports.columns` puts them together."""
