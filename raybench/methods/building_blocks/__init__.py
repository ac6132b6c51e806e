"""Computations that several methods share: fine-tuning, weight redraws, importances, masks, relabeling, centroids."""
