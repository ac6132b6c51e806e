"""`raybench.run` where no Ray is connected: it starts one, and shuts it down."""

import pytest
import ray

import raybench

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_local_ray_starts_and_is_shut_down(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert not ray.is_initialized()
    content = tiny(train__retrained_seeds=0, train__epochs=1, methods={"finetune": {}}, sweep__originals=1)
    raybench.run(content, storage=tmp_path, until="train", quiet=True)
    assert not ray.is_initialized()
    assert len(list((tmp_path / "artifacts" / "models").rglob("*.pt"))) == 1
