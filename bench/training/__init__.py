"""One run's training: data and classifier prepared, encoded, trained."""
