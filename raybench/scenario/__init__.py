"""What all jobs of an experiment share: images, roles, architecture and initial weights.

`prepare` reads the images of an experiment, draws the roles and writes both to the store. `Scenario` (`scenario`)
refers to them by key, is small enough to send to every worker, and opens samples and builds models there. `image_store`
decodes and stores images, `downstream` stores the datasets of `evaluate.downstream`, and `initial_weights` the weights
of `model.init`. `samples` turns stored images into a `Split`; `process_cache` keeps splits and models within a process.
"""
