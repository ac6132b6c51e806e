"""What metrics are written with: the decorator, `Estimate`, array checks."""
