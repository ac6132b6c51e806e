"""Python's warnings: those for the user are sentences, those of libraries are in a file."""

import io
import warnings

import pytest
from rich.console import Console

from raybench.data import forget_rules
from raybench.pipeline.python_warnings import readable_warnings
from raybench.progress import Reporter
from raybench.storage.store import Store


@pytest.mark.parametrize("verbosity", [0, 1])
def test_warnings_for_the_user_are_sentences_and_others_go_to_a_file(tmp_path, verbosity):
    store, stream = Store(str(tmp_path)), io.StringIO()
    reporter = Reporter(Console(file=stream, width=200), verbosity=verbosity)
    with readable_warnings(reporter, store, "run/warnings.txt"):
        warnings.warn_explicit("ids are listed twice", UserWarning, forget_rules.__file__, 1)
        warnings.warn_explicit("my own note", UserWarning, str(tmp_path / "my_code.py"), 1)
        for _ in range(2):
            warnings.warn_explicit("will change", FutureWarning, pytest.__file__, 1)
    printed = stream.getvalue().splitlines()
    assert printed[:2] == ["warning      ids are listed twice", "warning      my own note"]
    assert any("FutureWarning" in line for line in printed) == (verbosity > 0)
    assert store.read_bytes("run/warnings.txt").decode().count("FutureWarning: will change") == 1


def test_without_warnings_there_is_no_file(tmp_path):
    with readable_warnings(Reporter(Console(file=io.StringIO())), Store(str(tmp_path)), "run/warnings.txt"):
        pass
    assert list(tmp_path.iterdir()) == []
