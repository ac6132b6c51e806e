"""Reading an experiment file: `extends`, `--set`, and the messages for wrong files."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench.config.reading import load_experiment
from raybench.errors import UserError
from raybench.storage.store import fingerprint

TEXT = """\
# a comment
name: tiny
data:
  dataset: digits
  sizes: {train: 200, validation: 120, calibration: 60, test: 100, unseen: 100}
forget: {rule: random, count: 40}
model: {name: cnn, width: 4}
train: {epochs: 2, retrained_seeds: 2}
methods:
  finetune:
    lr: {loguniform: [1e-3, 0.1]}
    epochs: 2
evaluate:
  metrics: [accuracy]
"""


@pytest.fixture
def refused(write_file):
    """Return the error message for the text with one part replaced; places read `<file>:line`."""

    def read(old="", new="", *overrides):
        assert old in TEXT
        path = write_file(TEXT.replace(old, new, 1) if old else TEXT)
        with pytest.raises(UserError) as caught:
            load_experiment(path, overrides)
        return str(caught.value).replace(str(path), "<file>")

    return read


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            "\ntrain:",
            "\ntrian:",
            ["<file>:8: trian: unknown key; did you mean 'train'?", "allowed here: name, data, forget"],
        ),
        ("train: {epochs", "'i[nt': {epochs", ["<file>:8: i[nt: unknown key (allowed here: name, data"]),
        ("epochs: 2, r", "epoch: 2, r", ["<file>:8: train.epoch: unknown key; did you mean 'epochs'?", "batch_size"]),
        ("{train: 200", "{trian: 200", ["<file>:5: data.sizes.trian: unknown key; did you mean 'train'?"]),
        ("digits", "digit", ["<file>:4: data.dataset: unknown dataset 'digit'; did you mean 'digits'?", "cifar10"]),
        ("name: cnn", "name: cnm", ["<file>:7: model.name: unknown model 'cnm'; did you mean 'cnn'?", "more"]),
        (
            "random, c",
            "randm, c",
            ["<file>:6: forget.rule: unknown forget rule 'randm'; did you mean 'random'?", "ids"],
        ),
        (
            "count: 40",
            "cuont: 40",
            ["<file>:6: forget.cuont: unknown option of", "'count'?", "(allowed: count, fraction"],
        ),
        ("finetune", "finetun", ["<file>:10: methods.finetun: unknown method 'finetun'; did you mean 'finetune'?"]),
        ("finetune", "my.own", ["<file>:10: methods.my.own: cannot import method 'my.own'", "PYTHONPATH"]),
        (
            "[accuracy]",
            "[acuracy]",
            ["<file>:14: evaluate.metrics: unknown metric 'acuracy'; did you mean 'accuracy'?"],
        ),
        ("[accuracy]", "{knn: {kk: 3}}", ["<file>:14:", "unknown setting of metric knn: 'kk'; did you mean 'k'?"]),
        ("[accuracy]", "{knn: {k: few}}", ["<file>:14: evaluate.metrics.knn.k = 'few': must be a whole number"]),
        ("    epochs: 2", "    epohcs: 2", ["<file>:12: methods.finetune.epohcs: unknown hyperparameter", "'epochs'?"]),
        ("    epochs: 2", "    epochs: many", ["<file>:12: methods.finetune.epochs = 'many': must be a whole number"]),
        ("    epochs: 2", "    epochs: 0", ["<file>:12: methods.finetune.epochs = 0: must be at least 1"]),
        (
            "    epochs: 2",
            "    epochs: {choice: [1, 0]}",
            ["<file>:12: methods.finetune.epochs = 0: must be at least 1"],
        ),
        ("[1e-3, 0.1]", "[-1, 0.1]", ["<file>:11: methods.finetune.lr: loguniform needs low > 0, got -1"]),
        ("[1e-3, 0.1]", "[1, 0.1]", ["<file>:11: methods.finetune.lr: loguniform takes [low, high] with low < high"]),
        ("loguniform", "logunifrom", ["<file>:11:", "methods.finetune.lr: 'logunifrom'; did you mean 'loguniform'?"]),
        ("epochs: 2, r", "epochs: two, r", ["<file>:8: train.epochs = 'two': must be a whole number"]),
        ("epochs: 2, r", "workers: {min: 3, max: 2}, r", ["{'min': 3, 'max': 2}: min is 3 and max is 2; min must not"]),
        ("epochs: 2, r", "workers: {min: 3}, r", ["<file>:8: train.workers.max: this key is required"]),
        ("epochs: 2, r", "workers: {min: 0, max: 3}, r", ["<file>:8: train.workers.min = 0: must be at least 1"]),
        ("epochs: 2, r", "epochs: {a: 1}, r", ["<file>:8: train.epochs = {'a': 1}: must be a whole number"]),
        ("epochs: 2, r", "lr: 0, r", ["<file>:8: train.lr = 0: must be greater than 0"]),
        ("epochs: 2, r", "schedule: cos, r", ["<file>:8: train.schedule = 'cos': must be", "'cosine'", "'step'"]),
        ("s: 2}", "s: [1, 1]}", ["<file>:8: train.retrained_seeds = [1, 1]: seeds must be distinct"]),
        ("s: 2}", "s: few}", ["<file>:8: train.retrained_seeds = 'few': must be a list, or a whole number"]),
        ("train: 200", "train: lots", ["<file>:5: data.sizes.train = 'lots': must be a number of samples, a fraction"]),
        ("model: {name: cnn, width: 4}", "model: cnn", ["<file>:7: model = 'cnn': must be a mapping"]),
        ("name: tiny\n", "", ["<file>: name: this key is required"]),
        (
            "digits\n",
            "digits\n  options: {sise: 3}\n",
            ["<file>:5: data.options.sise: unknown option of dataset digits"],
        ),
    ],
)
def test_the_message_for_a_wrong_value_gives_place_key_and_allowed_values(refused, old, new, parts):
    said = refused(old, new)
    for part in parts:
        assert part in said
    assert "\n" not in said
    for noise in ("Value error", "Input should", "type=", "pydantic", "[int", "constrained", "dict["):
        assert noise not in said


def test_every_mistake_of_a_file_is_reported_at_once(refused):
    said = refused("epochs: 2, retrained_seeds: 2", "epochs: 0, lr: -1, momentun: 1").splitlines()
    assert len(said) == 3
    assert all(line.startswith("<file>:8: train.") for line in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an experiment file must be a mapping of keys to values (allowed: name, data"),
        ("# only a comment\n", "an experiment file must be a mapping of keys"),
        ("- a\n- b\n", "an experiment file must be a mapping of keys"),
        ("name: [tiny\ndata: {}\n", ":2: not valid YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("name: tiny\n\tdata: x\n", ":2: not valid YAML: "),
        ("name: !!python/object/apply:os.getcwd []\n", ":1: not valid YAML: could not determine a constructor"),
        ("train: {lr: 1}\nname: a\ntrain: {lr: 2}\n", ":3: train is written twice (first: "),
    ],
)
def test_a_file_that_is_no_experiment_is_an_error_with_its_line(write_file, text, said):
    path = write_file(text)
    with pytest.raises(UserError) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_binary_file_is_an_error(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match="not valid YAML"):
        load_experiment(tmp_path / "binary.yaml")


def test_the_error_of_a_missing_file_names_the_nearest_one_in_its_folder(write_file, tmp_path):
    write_file(TEXT, "quickstart.yaml")
    with pytest.raises(UserError, match=r"does not exist; did you mean '.*quickstart\.yaml'"):
        load_experiment(tmp_path / "quikstart.yaml")
    with pytest.raises(UserError, match=r"does not exist$"):
        load_experiment(tmp_path / "no_such_folder" / "x.yaml")


# -- extends -----------------------------------------------------------------------------------------------------------


def test_a_file_extends_another_key_by_key_over_several_levels(write_file):
    write_file(TEXT, "base.yaml")
    write_file("extends: base.yaml\ntrain: {lr: 0.5}\nmethods: {scrub: {epochs: 2}}\n", "middle.yaml")
    top = write_file("extends: middle.yaml\nname: top\nmethods: {finetune: {epochs: 7}}\n", "top.yaml")
    experiment, text = load_experiment(top)
    assert (experiment.name, experiment.train.lr, experiment.train.epochs) == ("top", 0.5, 2)
    assert experiment.methods == {"finetune": {"lr": {"loguniform": [0.001, 0.1]}, "epochs": 7}, "scrub": {"epochs": 2}}
    assert "extends" not in yaml.safe_load(text)


def test_the_resolved_text_is_an_experiment_file_that_gives_the_same_experiment(write_file):
    write_file(TEXT, "base.yaml")
    experiment, text = load_experiment(write_file("extends: base.yaml\nname: top\n", "top.yaml"), ["train.lr=1e-4"])
    assert load_experiment(write_file(text, "resolved.yaml")) == (experiment, text)


def test_a_new_space_replaces_the_old_one_and_a_new_rule_drops_the_old_options(write_file):
    write_file(TEXT, "base.yaml")
    top = write_file(
        "extends: base.yaml\nforget: {rule: class, classes: [3]}\nmethods: {finetune: {lr: {uniform: [0.1, 0.2]}}}\n",
        "t.yaml",
    )
    experiment, _ = load_experiment(top)
    assert experiment.forget.model_dump() == {"rule": "class", "classes": [3]}
    assert experiment.methods["finetune"]["lr"] == {"uniform": [0.1, 0.2]}


def test_null_removes_a_mapping_of_the_extended_file_and_is_a_value_elsewhere(write_file):
    write_file(TEXT.replace("sizes", "mislabel: {fraction: 0.1}\n  sizes"), "base.yaml")
    top = "extends: base.yaml\ndata: {mislabel: null, sizes: {unseen: null}}\nmethods: {finetune: null, scrub: null}\n"
    experiment, _ = load_experiment(write_file(top, "top.yaml"))
    assert experiment.data.mislabel is None
    assert experiment.data.sizes.unseen is None
    assert experiment.methods == {"scrub": {}}


def test_the_message_names_the_file_that_holds_the_mistake(write_file):
    base = write_file(TEXT.replace("epochs: 2, r", "epochs: 0, r"), "base.yaml")
    top = write_file("extends: base.yaml\nname: top\nsweep: {trials: 0}\n", "top.yaml")
    with pytest.raises(UserError) as caught:
        load_experiment(top)
    assert set(str(caught.value).splitlines()) == {
        f"{base}:8: train.epochs = 0: must be at least 1",
        f"{top}:3: sweep.trials = 0: must be at least 1",
    }


def test_the_error_of_a_missing_base_names_the_line_of_extends(write_file):
    write_file(TEXT, "base.yaml")
    top = write_file("name: top\nextends: bsae.yaml\n", "top.yaml")
    with pytest.raises(
        UserError, match=r"top\.yaml:2: extends: .*bsae\.yaml' does not exist; did you mean .*base\.yaml"
    ):
        load_experiment(top)


def test_files_that_extend_each_other_are_an_error_that_shows_the_cycle(write_file):
    write_file("extends: b.yaml\n", "a.yaml")
    b = write_file("extends: a.yaml\n", "b.yaml")
    with pytest.raises(UserError, match=r"cannot extend itself: b\.yaml -> a\.yaml -> b\.yaml"):
        load_experiment(b)


def test_extends_takes_one_path(write_file):
    with pytest.raises(UserError, match=r":1: extends = \['a', 'b'\]: must be the path of one file"):
        load_experiment(write_file("extends: [a, b]\n"))


# -- set ---------------------------------------------------------------------------------------------------------------


def test_set_overrides_and_adds_values_of_any_type(write_file):
    overrides = ["name=other", "train.retrained_seeds=[4, 5]", "methods.scrub={}", "data.sizes.unseen=0.1"]
    experiment, _ = load_experiment(write_file(TEXT), overrides)
    assert experiment.name == "other"
    assert experiment.train.seeds == [4, 5]
    assert list(experiment.methods) == ["finetune", "scrub"]
    assert experiment.data.sizes.unseen == 0.1


def test_set_removes_a_method_with_null(write_file):
    assert load_experiment(write_file(TEXT), ["methods.scrub={}", "methods.finetune=null"])[0].methods == {"scrub": {}}


def test_set_reaches_into_a_method_with_dots_in_its_name(write_file, own_methods):
    path = write_file(TEXT.replace("  finetune:\n    lr: {loguniform: [1e-3, 0.1]}", f"  {own_methods}.wipe:"))
    experiment, _ = load_experiment(path, [f"methods.{own_methods}.wipe.epochs=9"])
    assert experiment.methods == {f"{own_methods}.wipe": {"epochs": 9}}


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", ".train=3"])
def test_the_error_of_a_malformed_set_gives_an_example(refused, override):
    assert "must be key.subkey=value, for example --set train.epochs=5" in refused("", "", override)


def test_the_message_for_a_mistake_in_set_names_it(refused):
    assert refused("", "", "train.epochs=0") == "--set train.epochs=0: train.epochs = 0: must be at least 1"
    assert refused("", "", "train.epocs=3").startswith(
        "--set train.epocs=3: train.epocs: unknown key; did you mean 'epochs'?"
    )
    assert "not valid YAML" in refused("", "", "train.epochs=[1")


# -- spelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["0.1", "1e-1", "1.0e-1", ".1", "+0.1", "10e-2", "1E-1"])
def test_the_spelling_of_a_number_does_not_matter(write_file, spelling):
    experiment, _ = load_experiment(write_file(TEXT), [f"train.lr={spelling}", f"methods.finetune.lr={spelling}"])
    assert experiment.train.lr == 0.1
    assert experiment.methods["finetune"]["lr"] == 0.1


def test_whole_numbers_for_reals_and_the_reverse_give_the_same_fingerprint(write_file):
    as_int, _ = load_experiment(write_file(TEXT), ["train.lr=1", "train.epochs=2"])
    as_float, _ = load_experiment(write_file(TEXT), ["train.lr=1.0", "train.epochs=2.0"])
    assert fingerprint(as_int.train) == fingerprint(as_float.train)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(list(yaml.safe_load(TEXT.replace("1e-3", "0.001")))))
def test_the_order_of_keys_does_not_matter(write_file, order):
    content = yaml.safe_load(TEXT.replace("1e-3", "0.001"))
    plain, _ = load_experiment(write_file(content, "plain.yaml"))
    shuffled, _ = load_experiment(write_file({key: content[key] for key in order}, "shuffled.yaml"))
    assert plain == shuffled
    assert fingerprint(plain) == fingerprint(shuffled)


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_places(tmp_path, monkeypatch):
    """A folder with the experiment files, and another one that is called from."""
    beside, here = tmp_path / "experiments", tmp_path / "called from"
    for folder in (beside / "sub", here):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    (beside / "mine.yaml").write_text(TEXT.replace("width: 4", "width: 4, checkpoint: model.pt"))
    return beside, here


def test_a_relative_path_is_what_lies_beside_the_file_that_names_it_or_else_where_the_command_was_called(two_places):
    beside, here = two_places
    (here / "model.pt").touch()
    assert load_experiment(beside / "mine.yaml")[0].model.checkpoint == str(here / "model.pt")
    (beside / "model.pt").touch()
    experiment, text = load_experiment(beside / "mine.yaml")
    assert experiment.model.checkpoint == str(beside / "model.pt")
    assert yaml.safe_load(text)["model"]["checkpoint"] == str(beside / "model.pt")  # so that the copy means the same


def test_a_path_of_an_extended_file_lies_beside_that_file_and_one_of_the_command_line_where_it_was_called(two_places):
    beside, here = two_places
    (beside / "sub" / "child.yaml").write_text("extends: ../mine.yaml\nname: child\n")
    for folder in (beside, beside / "sub", here):
        (folder / "model.pt").touch()
    assert load_experiment(beside / "sub" / "child.yaml")[0].model.checkpoint == str(beside / "model.pt")
    override = ["model.checkpoint=model.pt"]
    assert load_experiment(beside / "mine.yaml", override)[0].model.checkpoint == str(here / "model.pt")


def test_the_folder_of_the_images_and_the_file_of_ids_are_found_in_the_same_way(two_places):
    beside, here = two_places
    (beside / "images").mkdir()
    (here / "ids.txt").touch()
    written = TEXT.replace("digits\n", "digits\n  root: images\n").replace("random, count: 40", "ids, file: ids.txt")
    (beside / "mine.yaml").write_text(written)
    experiment, _ = load_experiment(beside / "mine.yaml")
    assert experiment.data.root == str(beside / "images")
    assert experiment.forget.model_extra == {"file": str(here / "ids.txt")}


@pytest.mark.parametrize("given", ["nowhere.pt", "/nowhere/model.pt", "~/nowhere.pt"])
def test_a_path_that_exists_in_neither_place_is_kept(two_places, given):
    beside, _ = two_places
    (beside / "mine.yaml").write_text(TEXT.replace("width: 4", f"width: 4, checkpoint: {given}"))
    assert load_experiment(beside / "mine.yaml")[0].model.checkpoint == given


def test_the_folder_of_a_downstream_set_may_be_named_from_where_the_file_lies(write_file, tiny, tmp_path):
    (tmp_path / "office").mkdir()
    file = write_file(tiny(evaluate__downstream={"a": {"dataset": "digits", "root": "office"}}))
    experiment, _ = load_experiment(file)
    assert experiment.evaluate.downstream["a"].root == str(tmp_path / "office")
    elsewhere, _ = load_experiment(file, ["evaluate.downstream.a.root=nowhere"])
    assert elsewhere.evaluate.downstream["a"].root == "nowhere"


def test_a_mistake_in_a_downstream_set_is_placed_at_its_key(write_file, tiny):
    file = write_file(tiny(evaluate__downstream={"a": {"dataset": "digits", "limits": 3}}))
    with pytest.raises(UserError, match=r"evaluate\.downstream\.a\.limits: unknown key; did you mean 'limit'"):
        load_experiment(file)
