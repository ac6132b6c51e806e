"""Dataset formats: every module reads one on-disk layout into an `ImageData`.

A format is a function decorated with `@dataset`; its name is the value of `data.dataset` in an experiment. Its
docstring states layout, official splits, labels, groups, license if known, and the reference.
"""
