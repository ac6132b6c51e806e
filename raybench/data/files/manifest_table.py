"""The table of a manifest: a CSV (all cells are texts) or a Parquet file, whose columns are read on demand."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.data.files.csv_columns import read_csv
from raybench.errors import UserError

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns by name; `texts` holds those of a CSV, `schema` is that of a Parquet file, empty for a CSV."""

    path: Path
    texts: dict[str, list[str]] | None
    schema: pa.Schema

    @classmethod
    def open(cls, path: Path) -> "Table":
        """Read a CSV, or the schema of a Parquet file; raise UserError with the file name on failure."""
        if path.suffix.lower() == ".csv":
            return cls(path, read_csv(path), pa.schema([]))
        try:
            return cls(path, None, pq.read_schema(path))
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: cannot be read as Parquet: {error}") from error

    @property
    def names(self) -> list[str]:
        return list(self.schema.names if self.texts is None else self.texts)

    def column(self, name: str) -> list[Any]:
        """Return one column as Python values."""
        if self.texts is not None:
            return self.texts[name]
        try:
            values: list[Any] = pq.read_table(self.path, columns=[name], partitioning=None).column(name).to_pylist()
            return values
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{self.path}: column {name!r} cannot be read: {error}") from error

    def holds_bytes(self, name: str) -> bool:
        """Return whether a column contains encoded images rather than paths; raise UserError if neither."""
        kind = pa.string() if self.texts is not None else self.schema.field(name).type
        if pa.types.is_struct(kind):
            kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return True
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UserError(
                f"{self.path}: column {name!r} is {kind}; an image column contains paths, bytes, or a "
                "struct of bytes and path"
            )
        return False

    def class_names(self, name: str) -> list[str] | None:
        """Return the class names that Hugging Face's datasets library stores in the schema, or None."""
        content = (self.schema.metadata or {}).get(b"huggingface")
        if content is None:
            return None
        try:
            feature = json.loads(content)["info"]["features"].get(name)
            return list(feature["names"]) if feature and feature["_type"] == "ClassLabel" else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.path}: its Hugging Face metadata cannot be read ({error!r}); set option `classes`"
            ) from error
