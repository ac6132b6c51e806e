"""Parse what dataset formats consist of: folders, CSV, pickles, manifests, downloads.

A format in `formats/` says which files a dataset has and what they mean; these modules read them and report errors.
"""
