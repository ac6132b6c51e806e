"""A package, so that its one Ray is stopped when its tests are over."""
