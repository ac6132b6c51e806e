"""What an audit of outputs can and cannot exclude: one paragraph, for the evidence page and the documentation."""

THREAT_MODEL = (
    "No audit of outputs can exclude a model that hides what it knows. The audit queries the model on the images of "
    "the forget set and on others, and reads its outputs and features there. It finds memory that shows in these "
    "answers. It cannot find memory that shows only elsewhere: in altered images, in the order of unlikely classes, "
    "behind a trigger, in code beside the weights, or after more training. The auditor must hold the forget set, the "
    "unlearned weights and the code that runs them, and must train the retrained models. The author of the method may "
    "know the data, the recipe and the metrics, but must not know which retrained models judge, which unseen samples "
    "are used, or the seeds of the audit. A method whose author does not try to deceive needs none of this secrecy."
)
