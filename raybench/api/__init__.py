"""The Python API: run an experiment and read its results, and audit models that exist already."""
