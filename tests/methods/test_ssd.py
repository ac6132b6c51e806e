import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.methods.building_blocks.importance import squared_gradients
from raybench.methods.ssd import damping_factors

FORGET, RETAIN = tiny.samples(4, seed=1), tiny.samples(8, seed=2)


def test_the_three_weight_example() -> None:
    rest, forget = torch.tensor([1.0, 1.0, 0.1]), torch.tensor([5.0, 20.0, 3.0])
    assert damping_factors(forget, rest, 10, 1, 1).tolist() == pytest.approx([1, 0.05, 0.1 / 3])


@pytest.mark.parametrize("method", ["ssd", "lfssd"])
def test_an_infinite_selection_is_the_identity(method: str) -> None:
    model = tiny.net(norm=True)
    assert tiny.distance(tiny.plain(method, model, FORGET, RETAIN, selection=float("inf")), model) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20), st.floats(0.1, 5))
@settings(max_examples=50, deadline=None)
def test_no_weight_grows_or_changes_sign(pairs: list[tuple[float, float]], strength: float) -> None:
    forget, rest = torch.tensor(pairs).double().T
    factors = damping_factors(forget, rest, 1.0, strength, 1.0)
    assert bool(((factors >= 0) & (factors <= 1)).all())


def plain_squares(model: torch.nn.Module, data: tiny.Samples, size: int) -> list[torch.Tensor]:
    parts = []
    for x, y in tiny.batches(data, size):
        parts.append([g**2 for g in torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))])
    return [torch.stack([part[i] for part in parts]).mean(0) for i in range(len(parts[0]))]


@pytest.mark.parametrize(("preset", "size", "full"), [("conformal", 4, True), (None, 1, False)])
def test_ssd_dampens_by_the_ratio_of_importances(preset: str | None, size: int, full: bool) -> None:
    model = tiny.net(norm=True)
    forget = plain_squares(model, FORGET, size)
    rest = plain_squares(model, [*RETAIN, *FORGET] if full else RETAIN, size)
    options = {} if preset is None else {"preset": preset}
    result = tiny.plain("ssd", model, FORGET, RETAIN, selection=1.2, **options)
    changed = 0
    for new, old, f, r in zip(result.parameters(), model.parameters(), forget, rest):
        expected = torch.where(f > 1.2 * r, old * torch.clamp(r / f, max=1), old)
        expected = torch.where(f == 0, old, expected)
        assert torch.allclose(new, expected, atol=1e-12)
        changed += int((new != old).sum())
    assert changed > 0


def test_over_the_full_set_the_ratio_is_bounded_by_the_share_of_forget_samples() -> None:
    task, _ = tiny.make_task(tiny.net(norm=True), FORGET, RETAIN)
    forget = squared_gradients(task, task.forget())
    full = squared_gradients(task, ((x, y) for x, y, _ in task.mixed()))
    assert all(bool((forget[name] <= 3 * full[name] * (1 + 1e-9)).all()) for name in forget)
    model = tiny.net(norm=True)
    assert tiny.distance(tiny.plain("ssd", model, FORGET, RETAIN, reference="full", selection=3.001), model) == 0


def test_lfssd_reads_no_labels() -> None:
    model = tiny.net()
    relabeled = [(x, (int(y) + 1) % 3) for x, y in FORGET]
    one = tiny.plain("lfssd", model, FORGET, RETAIN, selection=1.0)
    assert tiny.distance(one, tiny.plain("lfssd", model, relabeled, RETAIN, selection=1.0)) == 0
    assert tiny.distance(one, model) > 0


def test_lfssd_dampens_by_the_gradient_of_the_output_length() -> None:
    model = tiny.net()

    def plain(data: tiny.Samples) -> list[torch.Tensor]:
        total = [torch.zeros_like(p) for p in model.parameters()]
        for x, _ in tiny.batches(data, 1):
            gradients = torch.autograd.grad((model(x) ** 2).sum(), list(model.parameters()))
            total = [t + g.abs() / len(data) for t, g in zip(total, gradients)]
        return total

    result = tiny.plain("lfssd", model, FORGET, RETAIN, selection=1.1, dampening=0.5)
    for new, old, f, r in zip(result.parameters(), model.parameters(), plain(FORGET), plain(RETAIN)):
        expected = torch.where(f > 1.1 * r, old * torch.clamp(0.5 * r / f.clamp(min=1e-300), max=1), old)
        assert torch.allclose(new, expected, atol=1e-12)
