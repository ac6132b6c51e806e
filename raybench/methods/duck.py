"""DUCK: move forget features to the nearest centroid of another class."""

from raybench.methods.building_blocks.centroids import class_means, cosine_distances, nearest, original_features
from raybench.methods.building_blocks.relabeling import require_other_class
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import NUMBERS, UUEF
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Cotogni et al. 2023, arXiv 2312.02052",
    formula="min forget_weight cos_distance(h(forget), nearest other centroid) + retain_weight CE(retain logits / T)",
    passes="once, retain: 1 teacher forward; forget and as many retain rows: `retain_batches` forwards and backwards",
    needs="class centroids: single-label targets, and a retained class other than each forget sample's own",
    released="The code of `uuef` reuses the targets of its first batch, has no forget signal from the third batch on, "
    "and compares the position of a centroid with a class id; the preset gives its settings with the published "
    "algorithm.",
    targets=("single_label",),
    presets={"uuef": {**UUEF, **NUMBERS}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.05, 0.5]}, "epochs": {"choice": [0.125, 0.25]}},
)
def duck(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.2),
    epochs: Count = of_epochs(0.2),
    forget_weight: Weight = 1.5,
    retain_weight: Weight = 1.5,
    temperature: Rate = 2.0,
    retain_batches: Count = 2,
) -> None:
    """Move every forget feature to the nearest centroid of another retained class, and fine-tune on the retain set.

    The centroids are the original's; each update selects the nearest one for the current features.

    Args:
        forget_weight, retain_weight: weights of the two terms.
        temperature: divides the retain logits.
        retain_batches: updates per forget batch, each with a new retain batch.
    """
    require_other_class(task)
    classes = task.retained_classes
    centroids = class_means(*original_features(task), classes)
    optimizer = task.optimizer(lr)
    retain = task.cycled("retain")
    for _ in task.epochs(epochs, steps=task.num_batches("forget") * retain_batches):
        for x_f, y_f in task.forget():
            for _ in range(retain_batches):
                x_r, y_r = next(retain)
                _, features = task.logits_and_features(x_f)
                forget_loss = nearest(cosine_distances(features, centroids), y_f, classes).mean()
                retain_loss = task.loss(task.model(x_r) / temperature, y_r)
                task.step(optimizer, forget_weight * forget_loss + retain_weight * retain_loss)
