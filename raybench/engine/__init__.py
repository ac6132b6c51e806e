"""Train, predict, audit and relearn: the loops that run a model, without an experiment, a store or Ray."""
