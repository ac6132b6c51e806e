"""What every job of an experiment shares: images, roles, architecture, initial weights."""
