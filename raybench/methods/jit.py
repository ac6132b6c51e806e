"""JiT: smooth the network around the forget set."""

import torch

from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Foster et al. 2024, arXiv 2402.01401",
    formula="min mean over draws of |f(x) - f(x + n)| / |n|, n ~ N(0, sigma^2), over forget",
    passes="forget: 1 + `draws` forwards and backwards",
    settings={"bn_mode": "frozen"},
    search={"lr": {"loguniform": [0.001, 0.03]}},
    limits="It smooths the network around the forget set and changes next to no prediction of networks that are as "
    "small as those measured here, on random forget sets or whole classes; larger rates damage them.",
)
def jit(
    task: UnlearningTask, *, lr: Rate = of_lr(0.003), epochs: Count = of_steps(4), sigma: Rate = 0.8, draws: Count = 25
) -> None:
    """Lower the local Lipschitz constant of the logits at forget samples; needs no retain data and no labels.

    BatchNorm is frozen by default: perturbed images in its running statistics destroy the model within a few steps.

    Args:
        sigma: standard deviation of the perturbations, in the units of the network's input.
        draws: number of perturbations per sample and step.
    """
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for x, _ in task.forget():
            optimizer.zero_grad(set_to_none=True)
            logits = task.model(x)
            center = logits.detach().requires_grad_()  # sums the gradients of all draws: one graph is alive at a time
            for _ in range(draws):
                noise = torch.randn_like(x).mul_(sigma)
                gap = torch.linalg.vector_norm(center - task.model(x + noise), dim=1)
                task.backward((gap / torch.linalg.vector_norm(noise.flatten(1), dim=1)).mean() / draws)
            assert center.grad is not None
            task.step(optimizer, (logits * center.grad).sum(), keep_gradients=True)
