"""Artifacts on any filesystem, the tables in Parquet, TensorBoard curves."""
