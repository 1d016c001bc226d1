"""The gate study: `selection` chooses finished runs, `study` measures each, `interventions` sets other gate values."""
