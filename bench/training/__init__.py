"""Prepares and trains one run: tokens of the rows, the classifier, the warm-up and the training loop."""
