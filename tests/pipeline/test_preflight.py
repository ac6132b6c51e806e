"""A model that does not fit the images fails before anything starts, with the user's line."""

import importlib
import sys

import pytest

from raybench.errors import UserError
from raybench.pipeline.preflight import try_model

NETS = """
import torch
from torch import nn


def two_channels(num_classes):
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


class Broken(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(torch.ones(len(x), 5))


class Tuple(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(torch.ones(len(x), 4)), None


class Short(Tuple):
    def forward(self, x):
        return super().forward(x)[0][:, :2]
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "preflight_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path / "preflight_nets.py"
    sys.modules.pop("preflight_nets", None)


def test_a_model_that_fits_passes(make_scenario):
    try_model(make_scenario())


def test_an_exception_in_forward_names_the_users_file_and_line(make_scenario, nets):
    with pytest.raises(UserError) as caught:
        try_model(make_scenario(model={"name": "preflight_nets.Broken"}))
    message = str(caught.value)
    line = NETS.splitlines().index("        return self.head(torch.ones(len(x), 5))") + 1
    assert message.startswith("model.name: preflight_nets.Broken on a batch of shape (2, 3, 8, 8)")
    assert f"{nets}:{line}, forward: return self.head(torch.ones(len(x), 5))" in message
    assert "\n" not in message


def test_a_model_without_a_line_of_user_code_in_the_traceback_still_gets_one_sentence(make_scenario, nets):
    with pytest.raises(UserError, match=r"two_channels on a batch of shape .* failed: RuntimeError: .*channels"):
        try_model(make_scenario(model={"name": "preflight_nets.two_channels"}))


@pytest.mark.parametrize(("name", "returned"), [("Tuple", "tuple"), ("Short", r"\(2, 2\)")])
def test_outputs_that_are_not_logits_are_refused(make_scenario, nets, name, returned):
    with pytest.raises(UserError, match=rf"returned {returned} for a batch .*expected logits of shape \(2, 10\)"):
        try_model(make_scenario(model={"name": f"preflight_nets.{name}"}))
