"""What an experiment asks for is compared with what the nodes have, before anything waits for it."""

import pytest

from raybench.distributed import resources
from raybench.distributed.resources import Deadline, Need, needs, require, unmet
from raybench.errors import UserError

LAPTOP = [{"CPU": 2.0}]
CLUSTER = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0}]


@pytest.mark.parametrize(
    ("each", "count", "nodes", "fits"),
    [
        ({"CPU": 2, "GPU": 0}, 1, LAPTOP, True),
        ({"CPU": 2.1, "GPU": 0}, 1, LAPTOP, False),
        ({"CPU": 0.1, "GPU": 0}, 20, LAPTOP, True),
        ({"CPU": 0.1, "GPU": 0}, 21, LAPTOP, False),
        ({"CPU": 1, "GPU": 0.25}, 1, LAPTOP, False),
        ({"CPU": 1, "GPU": 0.25}, 8, CLUSTER, True),
        ({"CPU": 1, "GPU": 0.25}, 9, CLUSTER, False),
        ({"CPU": 16, "GPU": 0}, 1, CLUSTER, False),  # no single node has them
        ({"CPU": 8, "GPU": 0}, 2, CLUSTER, True),
        ({"CPU": 1, "GPU": 0}, 1, [], False),
    ],
)
def test_a_need_fits_only_if_every_unit_has_a_place_on_one_node(each, count, nodes, fits):
    assert Need("one model", "keys", each, count).fits(nodes) is fits


def test_the_message_names_the_unit_the_keys_and_what_there_is(make_experiment):
    experiment = make_experiment(resources={"cpus_per_model": 64, "gpus_per_trial": 0.5})
    assert unmet(needs(experiment), LAPTOP, "this machine") == (
        "one model needs 64 CPUs (resources.cpus_per_model, resources.gpus_per_model), but this machine has 2 CPUs and "
        "0 GPUs"
    )
    assert "one trial needs 1 CPUs and 0.5 GPUs" in str(unmet(needs(experiment)[1:], LAPTOP, "this machine"))
    elastic = make_experiment(train={"workers": {"min": 3, "max": 9}})
    assert needs(elastic)[0].count == 3
    workers = make_experiment(train={"workers": 3})
    assert "3 workers of one training each need 1 CPUs" in str(unmet(needs(workers), LAPTOP, "this machine"))


def test_a_machine_is_refused_at_once_and_a_cluster_after_the_stated_time(monkeypatch):
    nodes, requests, messages = [LAPTOP], [], []
    monkeypatch.setattr(resources, "_nodes", lambda: nodes[0])
    monkeypatch.setattr(resources, "_request", requests.append)
    wanted = [Need("one model", "keys", {"CPU": 4.0})]
    with pytest.raises(UserError, match=r"this machine has 2 CPUs .* --address"):
        require(wanted, may_grow=False, report=messages.append)
    assert (messages, requests) == ([], [])
    with pytest.raises(UserError, match=r"the cluster has 2 CPUs .* got no larger in"):
        require(wanted, may_grow=True, report=messages.append, wait_seconds=0.05)
    assert "waiting" in messages[0]
    assert "giving up in" in messages[0]
    assert requests == [[{"CPU": 4.0}], []]  # asked for, and withdrawn


def test_a_training_whose_nodes_do_not_come_back_ends_after_the_stated_time(monkeypatch):
    nodes, now = [CLUSTER], [0.0]
    monkeypatch.setattr(resources, "_nodes", lambda: nodes[0])
    monkeypatch.setattr(resources.time, "monotonic", lambda: now[0])
    deadline = Deadline(Need("2 workers of one training", "train.workers", {"CPU": 4.0}, 2), 600)

    def wait(seconds):
        for _ in range(seconds):
            now[0] += 1
            deadline.check()

    wait(1000)
    nodes[0] = LAPTOP
    wait(590)
    nodes[0] = CLUSTER  # a node came back
    wait(20)
    nodes[0] = LAPTOP
    with pytest.raises(UserError, match=r"2 workers .* but the cluster has 2 CPUs .* in 10 minutes \(resources.wait_m"):
        wait(700)
    assert now[0] == pytest.approx(2220, abs=10)


def test_a_cluster_that_grows_in_time_runs(monkeypatch):
    growing = iter([LAPTOP, LAPTOP, CLUSTER])
    monkeypatch.setattr(resources, "_nodes", lambda: next(growing))
    monkeypatch.setattr(resources, "_request", lambda bundles: None)
    monkeypatch.setattr(resources, "POLL_SECONDS", 0.01)
    require([Need("one model", "keys", {"CPU": 4.0})], may_grow=True, report=lambda text: None, wait_seconds=5)
