"""Metrics: arrays in, numbers out. No model, no files, no Ray (see `spec` for how the evaluation calls them)."""
