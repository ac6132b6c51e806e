"""What an audit of outputs can and cannot exclude: one paragraph, for the evidence page and the documentation."""

THREAT_MODEL = (
    "No audit of outputs can exclude a model that hides what it knows. The audit queries the model on the forget "
    "images and others, and finds memory that changes its statistics of the outputs and features there. It cannot "
    "find memory that shows only elsewhere: in altered images, in the order of unlikely classes, behind a trigger, or "
    "in code beside the weights. The auditor must hold the forget set, the unlearned weights and the code that runs "
    "them, and must train the retrained models. The author of the method may know the data, the recipe and the "
    "metrics, but must not know which retrained models judge, which unseen samples are used, or the seeds of the "
    "audit."
)
