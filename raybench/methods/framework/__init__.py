"""What unlearning methods are written with: the task, the decorator, batches, optimizers, cost counters."""
