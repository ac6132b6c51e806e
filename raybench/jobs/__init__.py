"""Jobs: the units of work of an experiment. Plain functions, no Ray: `distributed/` decides where and when they run.

`specs` defines the kinds of jobs, `keys` the artifact that each makes, `plan` which jobs an experiment has; the other
modules do the work. Each job is idempotent: it looks for its artifact first and writes it completely or not at all.
"""
