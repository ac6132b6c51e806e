"""TensorBoard events as protocol buffers: scalars, histograms, precision-recall curves, text, hyperparameters.

They are built here and not by `SummaryWriter`, which starts a thread per file, writes a separate declaration of
hyperparameters into every run, and needs a folder on a local disk.
"""

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.hparams import api_pb2 as hparams_api
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2 as hparams_data
from tensorboard.plugins.pr_curve import metadata as pr_curves
from tensorboard.plugins.text import metadata as texts
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

WEIGHT = 1_000_000
DATA_TYPES = {bool: "DATA_TYPE_BOOL", float: "DATA_TYPE_FLOAT64", str: "DATA_TYPE_STRING"}


def encode(events: Iterable[Event], *, header: bool = True) -> bytes:
    """Return events in the format of an event file; a file starts with a `header`."""
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    if header:
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    for event in events:
        writer.write(event.SerializeToString())
    return stream.getvalue()


def scalars(step: int, values: Mapping[str, float], *, wall_time: float | None = None) -> Event:
    """Return one point of each curve."""
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    return _event(step, summary, wall_time)


def text(tag: str, markdown: str) -> Event:
    """Return a text in Markdown."""
    description = texts.create_summary_metadata(display_name=tag, description="")
    return _tensor(0, tag, make_tensor_proto(np.array(markdown.encode(), dtype=object)), description)


def histogram(step: int, tag: str, counts: np.ndarray, edges: np.ndarray, description: str) -> Event:
    """Return a histogram of `counts` (B,) in bins with the given `edges` (B + 1,)."""
    buckets = np.stack([edges[:-1], edges[1:], counts], axis=1).astype(np.float64)
    return _tensor(
        step,
        tag,
        make_tensor_proto(buckets),
        histograms.create_summary_metadata(display_name=tag, description=description),
    )


def precision_recall(tag: str, true_positive: np.ndarray, false_positive: np.ndarray, description: str) -> Event:
    """Return a precision-recall curve from rates (T,) at increasing thresholds, where both classes weigh the same.

    Where nothing is predicted positive, the precision is that of the last threshold at which something is. The rates
    become whole counts of `WEIGHT` samples per class: TensorBoard drops thresholds at which these are 0.
    """
    positive = true_positive + false_positive
    precision = np.divide(true_positive, positive, out=np.full_like(positive, np.nan), where=positive > 0)
    for index in range(1, len(precision)):
        if np.isnan(precision[index]):
            precision[index] = precision[index - 1]
    counts = [WEIGHT * rate for rate in (true_positive, false_positive, 1 - false_positive, 1 - true_positive)]
    rows = [*counts, precision, true_positive]
    described = pr_curves.create_summary_metadata(
        display_name=tag, description=description, num_thresholds=len(true_positive)
    )
    return _tensor(0, tag, make_tensor_proto(np.stack(rows).astype(np.float32)), described)


def hyperparameter_columns(
    columns: Mapping[str, Sequence[Any]], metrics: Mapping[str, str], *, first: Sequence[str]
) -> Event:
    """Declare the columns of the HParams tab: hyperparameters with their values, and metrics {tag: title}.

    TensorBoard reads one declaration, so it must name the hyperparameters of all methods. Numbers need only an example;
    texts need all values. TensorBoard shows five columns unless asked for more, those named in `first` before others.
    """
    infos = []
    for name, values in columns.items():
        kind = _kind(values)
        info = hparams_api.HParamInfo(name=name, display_name=name, differs=name in first)
        info.type = hparams_api.DataType.Value(DATA_TYPES[kind])
        if kind is not float:  # the values that the tab offers as filters
            info.domain_discrete.extend(sorted({str(value) for value in values}) if kind is str else [False, True])
        infos.append(info)
    titled = [
        hparams_api.MetricInfo(name=hparams_api.MetricName(tag=tag), display_name=title)
        for tag, title in metrics.items()
    ]
    experiment = hparams_api.Experiment(hparam_infos=infos, metric_infos=titled, time_created_secs=time.time())
    return _hparams(hparams.EXPERIMENT_TAG, hparams_data.HParamsPluginData(experiment=experiment))


def session(
    values: Mapping[str, Any], status: Literal["STATUS_SUCCESS", "STATUS_FAILURE"], *, texts: Sequence[str] = ()
) -> list[Event]:
    """Return one row of the HParams tab; hyperparameters named in `texts` are declared as text."""
    start = hparams_data.SessionStartInfo()
    for name, value in values.items():
        if name in texts or not isinstance(value, bool | int | float | str):
            start.hparams[name].string_value = str(value)
        elif isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    end = hparams_data.SessionEndInfo(status=hparams_api.Status.Value(status), end_time_secs=time.time())
    return [
        _hparams(hparams.SESSION_START_INFO_TAG, hparams_data.HParamsPluginData(session_start_info=start)),
        _hparams(hparams.SESSION_END_INFO_TAG, hparams_data.HParamsPluginData(session_end_info=end)),
    ]


def text_columns(columns: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """Return the hyperparameters whose values are not all numbers or all flags."""
    return tuple(name for name, values in columns.items() if _kind(values) is str)


def _kind(values: Sequence[Any]) -> type:
    if values and all(isinstance(value, bool) for value in values):
        return bool
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return float if values and numbers else str


def _hparams(tag: str, data: hparams_data.HParamsPluginData) -> Event:
    described = hparams.create_summary_metadata(data)
    return _event(0, Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=hparams.NULL_TENSOR)]), None)


def _tensor(step: int, tag: str, tensor: Any, described: SummaryMetadata) -> Event:
    return _event(step, Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=tensor)]), None)


def _event(step: int, summary: Summary, wall_time: float | None) -> Event:
    return Event(wall_time=time.time() if wall_time is None else wall_time, step=step, summary=summary)
