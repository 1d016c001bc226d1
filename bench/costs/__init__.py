"""What a run, a profile and a bare model cost: the meters applied."""
