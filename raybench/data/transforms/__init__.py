"""Augmentation, views and normalization of image batches."""
