"""What gates do: their values, what is active behind them, interventions on them, and work really skipped."""
