"""`raybench.run` where Ray is connected already, as in a notebook after `ray.init`."""

import pytest
import ray

import raybench

ONE_MODEL = {
    "name": "from_python",
    "train.epochs": 1,
    "train.retrained_seeds": 0,
    "sweep.objective": "gap_to_ideal",
    "sweep.originals": 1,
    "sweep.tuning_request": "same",
}

pytestmark = pytest.mark.ray


def test_the_connection_of_the_user_is_used_and_stays_open(local_ray, project, tmp_path, capsys):
    node = ray.get_runtime_context().get_node_id()
    run = raybench.run(project / "small.yaml", overrides=ONE_MODEL, storage=tmp_path, until="train")
    assert "train        1/1 models" in capsys.readouterr().out
    assert ray.get_runtime_context().get_node_id() == node
    assert run.name.startswith("from_python/")
    assert len(list((tmp_path / "artifacts" / "models").rglob("*.pt"))) == 1
