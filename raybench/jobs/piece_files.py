"""Files of one piece of a streamed split: a table of signals, and an archive of what else was computed."""

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from raybench.engine.prediction import Predictions
from raybench.metrics.framework.streaming import State
from raybench.storage import tables
from raybench.storage.predicted_arrays import matrix
from raybench.storage.store import Store

ERROR = "error"  # name of a state's entry where there is no result


def failed(error: Exception) -> State:
    """Return the state of what is not defined on these predictions."""
    return {ERROR: np.frombuffer(str(error).encode(), dtype=np.uint8).copy()}


def predictions_table(
    predictions: Predictions, model: str, role: str, arrays: Sequence[str] = ("logits", "features")
) -> pa.Table:
    """Return predictions as rows of the `predictions` table; arrays become plain lists, those not named null."""
    rows, labels = len(predictions.ids), predictions.labels
    columns = {
        "model": pa.array([model] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(predictions.ids),
        "labels" if labels.ndim == 2 else "label": _column(labels),
    }
    columns |= {array: _column(getattr(predictions, array)) for array in arrays}
    return tables.cast("predictions", pa.table(columns))


def signals_table(
    model: str, role: str, ids: np.ndarray, labels: np.ndarray, states: Mapping[str, State], view: str
) -> pa.Table:
    """Return the signals of a piece as a table; a signal that is not defined is null, with the reason as metadata."""
    columns = {
        "model": pa.array([model] * len(ids)),
        "split": pa.array([role] * len(ids)),
        "id": pa.array(ids),
        "labels" if labels.ndim == 2 else "label": _column(labels.astype(np.int64, copy=False)),
    }
    reasons = {name: bytes(state[ERROR]).decode() for name, state in states.items() if ERROR in state}
    columns |= {name: _column(state["0"]) for name, state in states.items() if ERROR not in state}
    table = tables.cast("signals", pa.table(columns))
    return tables.noted(table, view=view, undefined=json.dumps(reasons))


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    flat = np.ascontiguousarray(values)
    offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, flat.ravel())


def read_signal(store: Store, key: str, name: str) -> np.ndarray:
    """Return a signal of a piece, (n,) or (n, L), as the function computed it; raise ValueError with the reason."""
    table = store.read_table(key, columns=[name])
    reasons = json.loads((table.schema.metadata or {}).get(b"raybench_undefined", b"{}"))
    if name in reasons:
        raise ValueError(reasons[name])
    column = table[name]
    values = matrix(column) if pa.types.is_list(column.type) else column.to_numpy()
    dtype = np.int64 if name in ("predicted_class", "true_rank") else np.float64
    return values.astype(dtype, copy=False)


def write_states(store: Store, key: str, states: Sequence[State]) -> None:
    """Write what a group of calls computed of a piece."""
    buffer = io.BytesIO()
    content = {
        f"{i}.{name}": torch.from_numpy(np.ascontiguousarray(array))
        for i, state in enumerate(states)
        for name, array in state.items()
    }
    torch.save(content, buffer)
    store.write_archive(key, buffer.getvalue())


def read_states(store: Store, key: str) -> list[State]:
    """Return what each call of a group computed of a piece."""
    content = torch.load(io.BytesIO(store.read_archive(key)), weights_only=True)
    states: dict[int, State] = {}
    for name, values in content.items():
        number, _, part = name.partition(".")
        states.setdefault(int(number), {})[part] = values.numpy()
    return [states[number] for number in sorted(states)]


def defined(state: State) -> State:
    """Return the state; raise ValueError with the reason if the result is undefined."""
    if ERROR in state:
        raise ValueError(bytes(state[ERROR]).decode())
    return state
