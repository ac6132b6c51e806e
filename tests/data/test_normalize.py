import numpy as np
import pytest
import torch

from raybench.data.transforms import normalize
from raybench.data.transforms.normalize import Normalizer

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_normalized_one_by_one_to_the_same_values(monkeypatch, channels, channels_last):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 6, 7, channels), dtype=np.uint8))
    mean, std = (0.5, 0.4, 0.3)[:channels], (0.2, 0.3, 0.25)[:channels]
    run = Normalizer(mean, std, width=7, device=CPU, channels=3, channels_last=channels_last)
    whole = run(pixels)
    monkeypatch.setattr(normalize, "LARGE", 0)
    assert torch.equal(run(pixels), whole)
    expected = (pixels.double() / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(whole.double(), expected.permute(0, 3, 1, 2).expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    assert whole.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_an_empty_batch_stays_empty(monkeypatch):
    monkeypatch.setattr(normalize, "LARGE", 0)
    made = Normalizer((0.5,), (0.2,), width=4, device=CPU)(torch.empty((0, 4, 4, 1), dtype=torch.uint8))
    assert made.shape == (0, 1, 4, 4)
