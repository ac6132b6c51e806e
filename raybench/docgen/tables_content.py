"""The prose and the examples of docs/tables.md; the descriptions of columns are in `raybench.storage`."""

INTRODUCTION = (
    "A run writes its results to `<storage>/<name>/<fingerprint>/tables/` as Parquet, for example "
    "`runs/quickstart/a9459f8b/tables/`. pandas, polars, DuckDB and pyarrow read them without raybench. This page "
    "shows how, and explains every column.",
    "The same descriptions are in the files: `pyarrow.parquet.read_schema` shows description, unit, values and "
    "direction of each column. The metadata of each schema has the name of the table and a version, "
    "`raybench_schema_version`, which increases when a column changes its name or meaning.",
    "Percentages are stored as fractions: 0.84 is 84 %. An empty cell "
    "(null) means that there is no value; a column `reason` says why. Good values are those of the retrained models "
    "(`match retrained`), unless the last column says otherwise.",
)
EXAMPLES = """\
## Examples

The tables of the newest run; write the path of another one to read that.

```python
import json

with open("runs/quickstart/newest.json") as file:
    run = json.load(file)["run"]  # name/fingerprint
folder = f"runs/{run}/tables"
```

**pandas**: the verdicts, and the accuracy on forget samples with its gap to the retrained models.

```python
import pandas as pd

board = pd.read_parquet(f"{folder}/leaderboard.parquet")
print(board[["method", "conclusion", "memory_value", "memory_low", "memory_high", "gap", "relative_cost"]])

metrics = pd.read_parquet(f"{folder}/metrics.parquet")
forget = metrics[(metrics.metric == "accuracy") & (metrics.split == "forget")]
print(forget.groupby("method")[["value", "gap"]].agg(["mean", "std"]))
```

**DuckDB**: the forget samples that a method still gets right, and retrained models mostly do not.

```python
import duckdb

known = duckdb.sql(f\"\"\"
    SELECT m.kind, m.method, s.id, avg((s.margin > 0)::int) AS right
    FROM '{folder}/samples.parquet' s JOIN '{folder}/models.parquet' m USING (model)
    WHERE s.split = 'forget' GROUP BY ALL
\"\"\")
remembered = duckdb.sql(\"\"\"
    SELECT a.method, count(*) AS samples
    FROM known a JOIN known b ON a.id = b.id AND b.kind = 'retrained'
    WHERE a.kind = 'unlearned' AND a.right > 0.5 AND b.right < 0.5 GROUP BY ALL ORDER BY samples DESC
\"\"\")
print(remembered)
```

**pyarrow**: what the columns mean, and the logits of one model. The predictions of a model are several files; a filter
reads only what is needed.

```python
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

schema = pq.read_schema(f"{folder}/metrics.parquet")
print(schema.field("gap").metadata[b"description"].decode())

models = pq.read_table(f"{folder}/models.parquet", columns=["model", "kind"])
original = models.filter(pc.field("kind") == "original")["model"][0]
predictions = ds.dataset(f"{folder}/predictions")
forget = predictions.to_table(filter=(pc.field("model") == original) & (pc.field("split") == "forget"))
print(forget.select(["id", "label", "logits"]).slice(0, 3))
```

In raybench, `raybench.open("quickstart")` has the tables as data frames; see the [Python API](python-api.md)."""
JOINS = """\
## How the tables fit together

- `model` joins models, metrics, predictions and samples; `id` joins splits, predictions, samples and exposure.
- `method` is the key under `methods:` in the experiment. A method has one model per run; runs differ by `seed` and
  `original`. Average over the runs of one original first: only originals are independent of each other.
- `kind` separates the reference models (`original`, `retrained`) from the `unlearned` models.
- Never average over `setting`, `split` or `protocol`: each combination is a number of its own."""
