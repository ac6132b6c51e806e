"""Data set formats: one file per format, each a function that reads it into an `ImageData`."""
