"""Run an experiment: the order of the stages, what each does, and the tables it ends in."""
