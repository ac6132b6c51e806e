import tiny
import torch

from raybench.methods.building_blocks.saliency import saliency_mask, summed_gradient, top_fraction


def test_the_largest_scores_are_chosen_over_all_tensors_together() -> None:
    scores = {"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([[4.0, 2.0], [3.0, 0.0]])}
    chosen = top_fraction(scores, 0.5)
    assert chosen["a"].tolist() == [False, True]
    assert chosen["b"].tolist() == [[True, False], [True, False]]


def test_ties_go_to_the_earlier_position() -> None:
    scores = {"a": torch.zeros(100), "b": torch.zeros(100)}
    chosen = top_fraction(scores, 0.3)
    assert torch.cat([chosen["a"], chosen["b"]]).nonzero().flatten().tolist() == list(range(60))


def test_the_share_is_rounded_down() -> None:
    assert int(top_fraction({"a": torch.arange(7.0)}, 0.5)["a"].sum()) == 3
    assert bool(top_fraction({"a": torch.arange(7.0)}, 1.0)["a"].all())
    assert not bool(top_fraction({"a": torch.arange(7.0)}, 0.0)["a"].any())


def test_signed_gradients_are_summed_before_the_absolute_value() -> None:
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    task, _ = tiny.make_task(tiny.net(), [(x[0], 0), (x[0], 1), (x[0], 2)], tiny.samples(4), batch_size=1)
    total = summed_gradient(task)
    with torch.no_grad():
        logits = task.model(x)
    # the bias gradient of -CE summed over all three labels is 1 - 3 p: contributions of opposite sign cancel
    assert torch.allclose(total["8.bias"], 1 - 3 * logits.softmax(1)[0], atol=1e-12)


def test_the_mask_reads_the_model_in_eval_mode_and_leaves_it_in_train_mode() -> None:
    model = tiny.net(norm=True)
    task, _ = tiny.make_task(model, tiny.samples(4), tiny.samples(4, seed=2))
    mask = saliency_mask(task, 0.5)
    assert task.model.training
    assert tiny.distance(task.model, model) == 0
    assert sum(int(m.sum()) for m in mask.values()) == sum(p.numel() for p in model.parameters()) // 2
