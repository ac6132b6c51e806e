import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from raybench import data as datasets
from raybench.cli import app
from raybench.commands.pack import pack_dataset, parse_option
from raybench.data.fixtures import write
from raybench.errors import UserError
from raybench.progress import Reporter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("domain=Real World", ("domain", "Real World")),
        ("official_split=true", ("official_split", True)),
        ("labels=[a, b]", ("labels", ["a", "b"])),
        ("classes=10", ("classes", 10)),
        ("file=a=b.csv", ("file", "a=b.csv")),
    ],
)
def test_an_option_is_a_key_and_a_yaml_value(text, expected):
    assert parse_option(text) == expected


@pytest.mark.parametrize("text", ["domain", "=Art", "labels=[a"])
def test_a_malformed_option_is_rejected(text):
    with pytest.raises(UserError, match="--option"):
        parse_option(text)


def test_packing_shows_how_many_images_are_done(tmp_path):
    write("office_home", tmp_path / "set", images_per_class=2, num_classes=2)
    out = io.StringIO()
    reporter = Reporter(Console(file=out, width=150))
    pack_dataset("office_home", tmp_path / "out", reporter=reporter, root=tmp_path / "set", options=["domain=Art"])
    assert "pack" in out.getvalue()
    assert "4/4 images" in out.getvalue()
    assert datasets.load("packed", root=tmp_path / "out").num_samples == 4


def test_the_command_packs(tmp_path):
    write("office_home", tmp_path / "set", images_per_class=1, num_classes=2)
    words = [
        "pack",
        "office_home",
        str(tmp_path / "out"),
        "--root",
        str(tmp_path / "set"),
        "--option",
        "domain=Art",
        "-q",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert datasets.load("packed", root=tmp_path / "out").class_names == ("Thing_0", "Thing_1")


def test_an_unknown_option_is_rejected_with_the_nearest_name(tmp_path):
    write("office_home", tmp_path / "set", images_per_class=1, num_classes=2)
    words = ["pack", "office_home", str(tmp_path / "out"), "--root", str(tmp_path / "set"), "--option", "domian=Art"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UserError)
    assert "unknown option of dataset 'office_home': 'domian'; did you mean 'domain'" in str(result.exception)
