"""`raybench.unlearn` on the forms of data that users of torch have."""

import pytest
import torch
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

import raybench


def unlearn(digits, **changes):
    torch.manual_seed(0)
    sets = {"forget": digits.sets["forget"], "retain": Subset(digits.sets["retain"], range(40)), **changes}
    model = raybench.unlearn(digits.original, method="neggrad_plus", epochs=1, lr=0.01, seed=3, **sets)
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_a_loader_gives_its_samples_whatever_its_order_and_batch_size(digits):
    expected = unlearn(digits)
    loader = DataLoader(digits.sets["forget"], batch_size=7, shuffle=True, drop_last=True)
    assert torch.equal(unlearn(digits, forget=loader), expected)
    x, y = zip(*digits.sets["forget"])
    assert torch.equal(unlearn(digits, forget=(torch.stack(x), torch.tensor(y))), expected)


def test_a_sampler_of_a_loader_selects_samples(digits):
    rows = [4, 2, 30]
    loader = DataLoader(digits.sets["forget"], sampler=SubsetRandomSampler(rows))
    assert torch.equal(
        unlearn(digits, forget=loader), unlearn(digits, forget=Subset(digits.sets["forget"], [2, 4, 30]))
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter([1]), "forget: a list_iterator can be read only once"),
        (TensorDataset(torch.zeros(4, 1, 8, 8)), r"forget: a sample is a tuple of 1; it must be \(x, y\)"),
        ([(1.0, 2)], "forget: the image of a sample is a float; it must be a tensor"),
        (torch.zeros(4, 1, 8, 8), "forget is a Tensor, which is not a data set"),
        (TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0)), "forget is empty"),
    ],
)
def test_what_is_no_data_set_is_refused_in_words(data, message, digits):
    with pytest.raises(raybench.UserError, match=message):
        unlearn(digits, forget=data)
