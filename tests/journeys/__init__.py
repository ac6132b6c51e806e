"""End-to-end tests. A package, so that the Ray they share is stopped as soon as the last of them is over."""
