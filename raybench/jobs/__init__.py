"""What one worker does, from a job to its artifact. Plain functions, no Ray: `stages/` decides where and when they run.

Each is idempotent: it looks for its artifact first, and writes it whole or not at all.
"""
