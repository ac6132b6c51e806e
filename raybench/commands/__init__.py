"""What the command line does beside running an experiment: `cli.py` parses, one module here does it."""
