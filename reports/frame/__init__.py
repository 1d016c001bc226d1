"""From records to tidy tables: frame, panels, estimates and Pareto fronts."""
