"""Tiny datasets for these tests, and where the real ones are."""

import os
from pathlib import Path

import numpy as np
import pytest

from raybench.data.images import ImageData


def build(n=60, *, classes=3, size=8, channels=3, test=0, groups=None, labels=None, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % classes if labels is None else labels
    return ImageData(
        images=generator.integers(0, 256, (n, size, size, channels), dtype=np.uint8),
        labels=labels,
        part=(np.arange(n) >= n - test).astype(np.uint8),
        class_names=tuple(f"class {c}" for c in range(classes)),
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.25, 0.2, 0.3)[:channels],
        groups=groups,
    )


@pytest.fixture(scope="session")
def make_data():
    return build


@pytest.fixture
def shared_data():
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("RAYBENCH_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip("real data not at hand (RAYBENCH_SHARED_DATA or ../shared/data)")
    return folder
