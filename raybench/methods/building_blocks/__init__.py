"""Computations that several methods share: importances, saliency masks, relabeling, centroids."""
