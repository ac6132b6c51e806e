"""Lists of checkpoints in the experiment file: what is read, and what is refused before a file is opened."""

import pytest
import yaml

from raybench.config.reading import load_experiment
from raybench.errors import UserError

BASE = """
name: audit
data: {dataset: digits}
forget: {rule: random, count: 40}
model: {name: cnn, width: 4}
"""
METHODS = "methods: {theirs: {checkpoints: [a.pt, b.safetensors]}}\n"


@pytest.fixture
def read(tmp_path):
    """Load an experiment from texts, the last of which is `audit.yaml`."""

    def load(*texts, overrides=()):
        for name, text in zip(("base.yaml", "audit.yaml")[-len(texts) :], texts):
            (tmp_path / name).write_text(text)
        return load_experiment(tmp_path / "audit.yaml", overrides)[0]

    return load


def test_lists_of_checkpoints_decide_how_many_models_there_are(read):
    retrained = "train: {retrained: {checkpoints: [r0.pt, r1.pt, r2.pt]}}\n"
    experiment = read(BASE.replace("width: 4", "width: 4, checkpoint: [o0.pt, o1.pt]") + retrained + METHODS)
    assert experiment.model.checkpoints == ("o0.pt", "o1.pt")
    assert experiment.sweep.originals == 2
    assert experiment.train.checkpoints == ("r0.pt", "r1.pt", "r2.pt")
    assert experiment.train.seeds == [1, 2, 3]
    assert experiment.checkpoints("theirs") == ("a.pt", "b.safetensors")
    assert experiment.runs("theirs") == 2
    assert not experiment.searches("theirs")
    assert not experiment.tunes_separately
    assert experiment.train.retrained_recipe == experiment.train.recipe


def test_more_originals_than_the_usual_runs_need_no_further_setting(read):
    files = ", ".join(f"o{i}.pt" for i in range(7))
    experiment = read(BASE.replace("width: 4", f"width: 4, checkpoint: [{files}]") + "methods: {finetune: }\n")
    assert (experiment.sweep.originals, experiment.sweep.seeds) == (7, 7)


def test_files_are_looked_up_next_to_the_experiment(read, tmp_path):
    for name in ("a.pt", "o.pt", "r.pt"):
        (tmp_path / name).write_bytes(b"")
    text = BASE.replace("width: 4", "width: 4, checkpoint: [o.pt]") + "train: {retrained: {checkpoints: [r.pt]}}\n"
    experiment = read(text + METHODS)
    assert experiment.model.checkpoints == (str(tmp_path / "o.pt"),)
    assert experiment.train.checkpoints == (str(tmp_path / "r.pt"),)
    assert experiment.checkpoints("theirs") == (str(tmp_path / "a.pt"), "b.safetensors")


def test_checkpoints_replace_the_entry_of_the_extended_file(read):
    base = BASE + "train: {retrained: {epochs: 3}}\nmethods: {scrub: {lr: 0.1}}\n"
    again = "extends: base.yaml\ntrain: {retrained: {checkpoints: [r.pt]}}\nmethods: {scrub: {checkpoints: [a.pt]}}\n"
    experiment = read(base, again)
    assert experiment.checkpoints("scrub") == ("a.pt",)
    assert experiment.train.retrained == {"checkpoints": ["r.pt"]}
    back = read(base, "extends: base.yaml\n", overrides=["methods.scrub={checkpoints: [c.pt]}"])
    assert back.checkpoints("scrub") == ("c.pt",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: {theirs: {checkpoints: []}}", "audit.yaml:6: methods.theirs.checkpoints: must be a list of"),
        ("methods: {theirs: {checkpoints: a.pt}}", "methods.theirs.checkpoints: must be a list of checkpoint files"),
        ("methods: {theirs: {checkpoints: [1, 2]}}", "must be a list of checkpoint files"),
        ("methods: {theirs: {checkpoints: [a.pt, a.pt]}}", "lists 'a.pt' twice; every file is another model"),
        ("methods: {theirs: {checkpoints: [a.pt], lr: 0.1}}", "no hyperparameters and no recipe; remove lr"),
        ("methods: {theirs: {checkpoints: [a.pt], method: scrub}}", "remove method"),
        ("methods: {theirs: {checkpoint: [a.pt]}}", "unknown method 'theirs'"),
        ("methods: {retrained: {checkpoints: [a.pt]}}", "'retrained' cannot name a method with checkpoints"),
        ("methods: {all: {checkpoints: [a.pt]}}", "'all' cannot name a method with checkpoints"),
        (METHODS + "train: {retrained: {checkpoints: []}}", "train.retrained.checkpoints: must be a list"),
        (METHODS + "train: {retrained: {checkpoints: [a.pt], epochs: 3}}", "remove epochs"),
        (METHODS + "train: {retrained: {checkpoint: [a.pt]}}", "did you mean 'checkpoints'"),
        (METHODS + "train: {retrained: {checkpoints: [a.pt]}, retrained_seeds: 5}", "remove `retrained_seeds`"),
        (METHODS + "model: {name: cnn, checkpoint: []}", "model.checkpoint"),
        (METHODS + "model: {name: cnn, checkpoint: [a.pt, a.pt]}", "lists 'a.pt' twice"),
        (METHODS + "model: {name: cnn, checkpoint: [a.pt, b.pt]}\nsweep: {originals: 3}", "sets the originals"),
        (METHODS + "evaluate: {population: {methods: [theirs]}}", "'theirs' lists checkpoints"),
    ],
)
def test_a_wrong_list_is_refused_with_its_key(read, text, message):
    content = {**yaml.safe_load(BASE), **yaml.safe_load(text)}
    whole = BASE + text if "model:" not in text else yaml.safe_dump(content)
    with pytest.raises(UserError) as caught:
        read(whole)
    assert message in str(caught.value)
