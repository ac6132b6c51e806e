import pytest

from raybench.data.files.csv_columns import find_column, need_column, read_csv
from raybench.errors import UserError


def test_a_spreadsheet_export_is_read_as_it_is_meant(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffname , Age\r\n"Smith, J", 35\r\n\r\nLi,40\r\n'.encode())
    columns = read_csv(tmp_path / "t.csv")
    assert columns == {"name": ["Smith, J", "Li"], "Age": ["35", "40"]}
    assert find_column(columns, ["years", "age"]) == ["35", "40"]
    assert find_column(columns, ["identity"]) is None
    with pytest.raises(UserError, match=r"t\.csv: needs a column id or identity .columns: name, Age"):
        need_column(columns, ["id", "identity"], path=tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a line of column names"),
        (b"a,b\n", "expected a line of column names"),
        (b"a,b\n1,2\n\n3\n", "line 4: 1 cells, but 2 columns: a, b"),
        (b"\xff\xfea", "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path / "t.csv")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_csv(tmp_path / "gone.csv")
