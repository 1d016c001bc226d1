"""Every figure of the reports: its label, unit, formula, meaning and known error."""
