"""Bind metrics to stored predictions, compute metric rows, and average the gaps that rank models."""
