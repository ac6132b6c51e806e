"""What unlearning methods are written with: the decorator, the task, its batches, its schedule and its cost ledger."""
