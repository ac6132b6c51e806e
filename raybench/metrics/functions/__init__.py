"""The functions that metrics call: pure numerics on arrays, usable on their own."""
