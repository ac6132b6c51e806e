"""Metrics of the evaluation: each file of this package holds one family, and each function takes arrays only.

`framework` holds what metrics are written with, `functions` the numerics that they call.
"""
