"""Audit models without an experiment: known answers, data of every kind, and messages for what cannot be audited."""

import copy
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Subset, SubsetRandomSampler, TensorDataset

import raybench
from raybench.api.loading import load
from raybench.metrics.functions.residual_memory import residual_memory, scaled_confidence
from raybench.models import build, to_bytes
from raybench.models.checkpoints import to_safetensors

FEW = {"metrics": ["accuracy", "mia"]}


@pytest.fixture(scope="session")
def result(digits):
    methods = {"finetune": digits.finetuned, "retrain": digits.another, "nothing": digits.original}
    return raybench.audit(digits.original, methods, retrained=digits.retrained, margin=0.2, **FEW, **digits.sets)


def audit(digits, **changes):
    arguments = {"original": digits.original, "unlearned": digits.finetuned, **FEW, **digits.sets, **changes}
    return raybench.audit(arguments.pop("original"), arguments.pop("unlearned"), **arguments)


def logits_of(model, data):
    with torch.no_grad():
        return model.eval()(torch.stack([x for x, _ in data]))


def test_a_retrained_model_has_forgotten_and_doing_nothing_remembers(result):
    board = result.leaderboard.set_index("method")
    assert board.conclusion[["retrain", "finetune", "nothing"]].tolist() == ["forgotten", "remembers", "remembers"]
    assert board.loc["nothing", "memory_value"] == pytest.approx(1)
    assert board.loc["retrain", "memory_high"] < 0.2
    assert any(line.startswith("remembers: ") and "finetune" in line for line in result.verdict)


def test_numbers_are_those_of_the_definitions(result, digits):
    forget = digits.sets["forget"]
    labels = torch.tensor([int(y) for _, y in forget])
    models = {"original": digits.original, "finetune-0": digits.finetuned, "retrained-1": digits.retrained[1]}
    metrics = result.metrics[(result.metrics.metric == "accuracy") & (result.metrics.split == "forget")]
    for name, model in models.items():
        expected = float((logits_of(model, forget).argmax(1) == labels).double().mean())
        assert metrics.set_index("name").value[name] == expected

    def confidence(model):
        losses = nn.functional.cross_entropy(logits_of(model, forget).double(), labels, reduction="none")
        return scaled_confidence(losses.numpy())

    rows = [np.stack([confidence(m) for m in group]) for group in ([digits.finetuned], digits.retrained)]
    expected = residual_memory(*rows, confidence(digits.original)[None], starts=[0])
    memory = result.memory.set_index("method").loc["finetune"]
    assert [memory.value, memory.low, memory.high] == pytest.approx([expected.value, expected.low, expected.high])
    exposure = result.exposure[result.exposure.method == "finetune"]
    assert exposure.exposure.to_numpy() == pytest.approx(expected.exposure)
    assert exposure.id.tolist() == list(range(60))


def test_predictions_are_those_of_the_model(result, digits):
    table = result.predictions("finetune-0", "test")
    expected = logits_of(digits.finetuned, digits.sets["test"]).numpy()
    assert np.stack(table["logits"].to_numpy()) == pytest.approx(expected, abs=1e-5)
    assert table["label"].to_pylist() == [int(y) for _, y in digits.sets["test"]]
    with pytest.raises(raybench.UserError, match="did you mean 'finetune-0'"):
        result.predictions("finetune", "test")
    with pytest.raises(raybench.UserError, match="split of this audit"):
        result.predictions("original", "calibration")


def test_it_prints_a_leaderboard_and_a_verdict(result):
    for text in (repr(result), result._repr_html_()):
        assert "1 original, 5 retrained, 3 unlearned models" in text
        assert "memory left" in text
        assert "forgotten (less than 20 % left): retrain" in unescape(text)
        assert "cost" not in text
        assert "report.md" not in text
    assert max(map(len, repr(result).splitlines()[1:8])) <= 110


def test_with_fewer_than_five_retrained_models_the_verdict_is_withheld(digits):
    few = audit(digits, retrained=digits.retrained[:4])
    assert few.leaderboard.conclusion.dropna().tolist() == ["withheld"]
    assert few.verdict[0].startswith("no verdict on forgetting: 4 retrained models, and a verdict needs 5")
    none = audit(digits)
    assert "0 retrained models" in none.verdict[0]
    assert none.exposure.empty
    text = "\n".join([*none.verdict, *none.metrics.reason.dropna(), *none.memory.reason.dropna()])
    assert "train.retrained_seeds" not in text


def test_all_metrics_have_a_value_or_a_reason(digits):
    parts = torch.arange(1137).split(600)
    calibration, unseen = (Subset(digits.sets["unseen"], rows.tolist()) for rows in parts)
    full = audit(digits, retrained=digits.retrained, unseen=unseen, calibration=calibration, metrics="all")
    rows = full.metrics
    assert {"accuracy", "cr", "zrf", "mia_auc", "cka_to_retrained", "weight_distance_to_original"} <= set(rows.metric)
    assert (rows.value.notna() | rows.reason.notna()).all()
    missing = set(rows[rows.value.isna()].metric) - {"accuracy_forgotten_classes", "accuracy_retained_classes"}
    assert len(missing) < 5  # no groups, no class names, too few samples of a class; no class is forgotten
    without = audit(digits, metrics=["cr"]).metrics
    assert set(without[without.metric == "cr"].reason) == {"needs calibration samples (calibration=)"}


def test_several_originals_and_runs_are_matched(digits):
    originals = [digits.original, train_more(digits)]
    several = audit(
        digits, original=originals, unlearned=[digits.finetuned, originals[1]], retrained=digits.retrained[:3]
    )
    models = several.metrics.drop_duplicates("name").set_index("name")
    assert models.loc[["original-1", "unlearned-0", "unlearned-1"], "original"].tolist() == [1, 0, 1]
    assert several.leaderboard.set_index("method").loc["unlearned", "n"] == 2
    with pytest.raises(raybench.UserError, match="3 runs and there are 2 originals"):
        audit(digits, original=originals, unlearned=[digits.finetuned] * 3)


def train_more(digits):
    other = copy.deepcopy(digits.original)
    with torch.no_grad():
        other[1].weight += 0.01 * torch.randn(other[1].weight.shape, generator=torch.Generator().manual_seed(0))
    return other


class Stream(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(self.data)


def shuffled(data):
    return DataLoader(data, batch_size=7, shuffle=True, drop_last=True)


def arrays(data):
    return np.stack([x.numpy() for x, _ in data]), np.array([int(y) for _, y in data])


FORMS = {
    "data set": lambda data: data,
    "list": list,
    "arrays": arrays,
    "ordered loader": lambda data: DataLoader(data, batch_size=16),
    "shuffled loader": shuffled,
    "loader of batches": lambda data: DataLoader(
        data, batch_sampler=torch.utils.data.BatchSampler(RandomSampler(data), 8, False)
    ),
    "stream": lambda data: DataLoader(Stream(data), batch_size=16),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_numbers_and_ids(form, digits):
    changed = audit(digits, retrained=digits.retrained[:3], forget=FORMS[form](digits.sets["forget"]))
    plain = audit(digits, retrained=digits.retrained[:3])
    for name in ("metrics", "exposure", "memory"):
        for column in getattr(plain, name).select_dtypes("number"):
            left, right = (getattr(a, name)[column].to_numpy(dtype=float) for a in (changed, plain))
            assert left == pytest.approx(right, abs=1e-4, nan_ok=True), column


def test_a_loader_with_a_sampler_gives_the_samples_it_selects(digits):
    rows = [5, 3, 17, 9]
    loader = DataLoader(digits.sets["forget"], sampler=SubsetRandomSampler(rows))
    labels = audit(digits, forget=loader).predictions("original", "forget")["label"].to_pylist()
    assert labels == [int(digits.sets["forget"][i][1]) for i in sorted(rows)]


def test_models_are_left_as_they_are(digits):
    model = copy.deepcopy(digits.finetuned)
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    audit(digits, unlearned=model)
    assert (model.training, model[1].training, model[2].training) == (True, False, True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_of_another_dtype_is_predicted_in_it(digits):
    double = copy.deepcopy(digits.finetuned).double()
    values = audit(digits, unlearned={"single": digits.finetuned, "double": double}).metrics
    value = values[(values.metric == "accuracy") & (values.split == "test")].set_index("method").value
    assert value["single"] == value["double"]


def test_a_diverged_model_gets_a_reason(digits):
    broken = copy.deepcopy(digits.finetuned)
    with torch.no_grad():
        broken[3].bias.fill_(float("nan"))
    failed = audit(digits, unlearned=broken, retrained=digits.retrained)
    row = failed.leaderboard.set_index("method").loc["unlearned"]
    assert row.conclusion == "withheld"
    assert np.isnan(row.memory_value)
    assert "unlearned" in repr(failed)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 10)

    def forward(self, x):
        return self.head(x.mean((1, 2, 3))[:, None])


class Output(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return SimpleNamespace(logits=self.head(x.flatten(1)))


def empty(_):
    return TensorDataset(torch.empty(0, 1, 8, 8), torch.empty(0, dtype=torch.int64))


WRONG = {
    "forget is empty": lambda d: {"forget": empty(d)},
    r"retain: a generator can be read only once": lambda d: {"retain": (sample for sample in d.sets["retain"])},
    r"IterableDataset without fixed samples": lambda d: {"test": Stream(d.sets["test"])},
    r"RandomSampler of the DataLoader draws samples more than once": lambda d: {
        "test": DataLoader(d.sets["test"], sampler=RandomSampler(d.sets["test"], replacement=True))
    },
    r"test: a batch is a list of 1; it must be \(x, y\)": lambda d: {"test": TensorDataset(torch.zeros(4, 1, 8, 8))},
    r"test: a batch is a tensor \(4, 1, 8, 8\)": lambda d: {"test": [torch.zeros(1, 8, 8)] * 4},
    r"unseen is a dict, which is not a data set": lambda d: {"unseen": {"x": 1}},
    r"test: label 10 \(allowed: 0 to 9": lambda d: {"test": (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 10]))},
    r"labels are not whole numbers": lambda d: {"test": (torch.zeros(4, 1, 8, 8), torch.rand(4))},
    r"unlearned cannot predict a batch \(1, 3, 32, 32\) of retain": lambda d: {
        "original": Pooled(),
        "retain": (torch.zeros(4, 3, 32, 32), torch.zeros(4).long()),
    },
    r"unlearned has 7 classes, but original has 10": lambda d: {
        "unlearned": nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    },
    r"retrained\[0\] is the original": lambda d: {"retrained": [d.original]},
    r"retrained\[1\] is a dict; it must be a torch module, or the path of a checkpoint": lambda d: {
        "retrained": [d.another, {}]
    },
    r"unlearned is a path: pass architecture=, a torch module or a name": lambda d: {"unlearned": "theirs.pt"},
    r"architecture is a list: pass architecture=": lambda d: {"unlearned": "theirs.pt", "architecture": []},
    r"checkpoint nowhere\.pt does not exist": lambda d: {"unlearned": "nowhere.pt", "architecture": d.original},
    r"unlearned returns a SimpleNamespace; it must return logits": lambda d: {"unlearned": Output()},
    r"unlearned has no parameters": lambda d: {"unlearned": nn.Flatten()},
    r"'original' cannot name a method": lambda d: {"unlearned": {"original": d.finetuned}},
    r"unlearned\['x'\] is empty": lambda d: {"unlearned": {"x": []}},
    r"unknown metric 'acuracy'; did you mean 'accuracy'": lambda d: {"metrics": "acuracy"},
    r"alphas = \[2.0\]": lambda d: {"alphas": [2]},
    r"batch_size = 0": lambda d: {"batch_size": 0},
    r"groups has shape \(3,\)": lambda d: {"groups": [0, 1, 2]},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_audited_is_refused_in_words(message, digits):
    with pytest.raises(raybench.UserError, match=message):
        audit(digits, **WRONG[message](digits))


def test_forget_samples_in_another_set_are_found(digits):
    data = digits.sets["forget"].dataset
    rows = {role: digits.sets[role].indices for role in ("forget", "retain", "test")}
    few = audit(digits, retain=Subset(data, rows["retain"] + rows["forget"][:3]))
    assert few.verdict[-1] == "note: 3 of 60 forget samples are also in retain, pixel for pixel"
    assert not any(line.startswith("note:") for line in audit(digits).verdict)
    everything = DataLoader(Subset(data, rows["retain"] + rows["forget"]), shuffle=True, batch_size=50)
    with pytest.raises(raybench.UserError, match="retain: 60 of 60 forget samples are also in retain"):
        audit(digits, retain=everything)
    with pytest.raises(raybench.UserError, match="no model may have been trained on its samples"):
        audit(digits, test=digits.sets["forget"])


def test_identities_count_as_one_unit(digits):
    single = audit(digits, retrained=digits.retrained).memory.set_index("method").high["unlearned"]
    grouped = audit(digits, retrained=digits.retrained, groups=["ann", "bob"] * 30).memory.set_index("method")
    assert grouped.high["unlearned"] > single


def test_models_are_read_from_checkpoints_into_an_architecture(digits, tmp_path):
    def save(name, model):
        file = tmp_path / name
        file.write_bytes(to_safetensors(model.state_dict()) if name.endswith("safetensors") else to_bytes(model))
        return file

    files = {
        "original": str(save("original.pt", digits.original)),
        "unlearned": {"theirs": [save("seed0.safetensors", digits.finetuned)]},
        "retrained": [save(f"retrained{i}.pt", model) for i, model in enumerate(digits.retrained)],
    }
    architecture = copy.deepcopy(digits.original)
    read = audit(digits, architecture=architecture, **files)
    modules = audit(digits, unlearned={"theirs": [digits.finetuned]}, retrained=digits.retrained)
    assert read.metrics.equals(modules.metrics)
    assert read.verdict == modules.verdict
    assert all(torch.equal(a, b) for a, b in zip(architecture.parameters(), digits.original.parameters()))
    with pytest.raises(raybench.UserError, match=r"original\.pt is of another architecture"):
        audit(digits, **{**files, "architecture": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))})


def test_the_name_of_an_architecture_takes_the_number_of_classes_from_the_checkpoint(tmp_path):
    model = build("squeezenet1_1", num_classes=7)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "m.pt")
    read = load(tmp_path / "m.pt", "squeezenet1_1", "original")
    assert to_bytes(read) == to_bytes(model)
    with pytest.raises(raybench.UserError, match=r"has no tensor 'fc\.weight', the head of 'resnet18'"):
        load(tmp_path / "m.pt", "resnet18", "original")
