"""Tuning under equal budgets: the space of settings, the same random draws for every method, and the choice on dev."""
