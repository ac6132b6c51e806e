import pytest

from raybench.data.files.locate import locate, refuse_missing
from raybench.errors import UserError


@pytest.fixture
def root(tmp_path):
    for name in ("a/x.JPG", "a/Y.jpg", "a/y.jpg", "b/x.jpg", "b/z.png", "top.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.jpg", "a/x.JPG"),  # the first folder that has it, whatever its case
        ("x.JPG", "a/x.JPG"),
        ("y.jpg", "a/y.jpg"),  # exactly that name before another case
        ("Y.jpg", "a/Y.jpg"),
        ("z.PNG", "b/z.png"),
        ("b/x.jpg", "b/x.jpg"),  # where the name says
        ("b\\x.jpg", "b/x.jpg"),
        ("elsewhere/z.png", "b/z.png"),
        ("../b/x.jpg", "a/x.JPG"),  # never outside root
        ("/b/x.jpg", "a/x.JPG"),
        ("top.jpg", "top.jpg"),
        ("w.jpg", None),
    ],
)
def test_a_name_means_the_file_in_the_first_folder_that_has_it(root, name, expected):
    assert locate(root, [name], ["a", "no such folder", "b", ""]) == [expected]


def test_missing_files_are_counted_and_the_first_five_named():
    names = [f"{i}.jpg" for i in range(8)]
    with pytest.raises(UserError, match=r"set: 7 of 8 image files are missing: 1\.jpg, .*5\.jpg, \.\.\. \(in a/\)"):
        refuse_missing(names, ["a/0.jpg"] + [None] * 7, dataset="set", where="in a/")
    assert refuse_missing(names[:1], ["a/0.jpg"], dataset="set", where="") == ["a/0.jpg"]
