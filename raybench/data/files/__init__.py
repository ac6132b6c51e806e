"""Helpers that read the files of data set formats: folders, CSV, pickles, manifests, downloads."""
