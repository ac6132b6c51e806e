"""Implementations of the commands, one module each; `cli.py` only parses the arguments."""
