"""The most exposed forget samples of each method: picture, label, and what models say before and after."""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd

from raybench.report.html.inputs import RunFrames
from raybench.report.html.thumbnails import Thumbnails

WORST = 8  # samples listed per method
OFF = (
    "Pictures are left out: images of people, and data that are not public, are shown only on request. "
    "`raybench report RUN --thumbnails` adds them."
)


def worst_ids(exposure: pd.DataFrame) -> Iterator[int]:
    """Yield the ids of the most exposed samples, method by method; an id may come more than once."""
    for _, rows in exposure.groupby("method", sort=False):
        yield from (int(sample) for sample in _worst(rows).id)


def worst_samples(exposure: pd.DataFrame, run: RunFrames, small: Thumbnails) -> str:
    """Return, per method on demand, the most exposed forget samples and their predictions before and after.

    `exposure`: `exposure.parquet`, methods in the order of the page.
    """
    predicted: dict[tuple[str, int], int] = {}
    if run.predicted is not None:
        frame = run.predicted[run.predicted.id.isin(set(worst_ids(exposure)))]
        predicted = {(row.method, row.id): row.predicted for row in frame.itertuples()}
    parts = [
        _method(str(method), rows, run, predicted, small) for method, rows in exposure.groupby("method", sort=False)
    ]
    off = f"<p>{escape(OFF)}</p>" if run.pictures is not None and run.pictures.read is None else ""
    summary = "<summary>Most exposed samples of each method</summary>"
    return f'<details class="on-demand">{summary}{off}{"".join(parts)}</details>'


def _method(
    method: str, rows: pd.DataFrame, run: RunFrames, predicted: dict[tuple[str, int], int], small: Thumbnails
) -> str:
    def said(model: str, row: Any, confidence: float) -> str:
        text, known = escape(_probability(confidence)), predicted.get((model, row.id))
        return f"<td>{text}</td>" if known is None else f"<td>{text}, says {escape(_class_name(run, known))}</td>"

    lines = []
    for row in _worst(rows).itertuples():
        label = "" if run.pictures is None else _label_of(run, int(row.id))
        lines.append(
            "<tr>"
            + (f"<td>{small.show(int(row.id))}</td>" if small.ids else "")
            + f"<td>{row.id}</td>"
            + (f"<td>{escape(label)}</td>" if run.pictures is not None else "")
            + f"<td>{100 * row.exposure:.0f} %</td>"
            + said("original", row, row.original_confidence)
            + said(method, row, row.confidence)
            + said("retrained", row, row.retrained_confidence)
            + "</tr>"
        )
    exposed = int((rows.exposure >= 0.5).sum())
    head = [*(["picture"] if small.ids else []), "sample id", *(["label"] if run.pictures is not None else [])]
    head += ["exposure", "original", "this method", "retrained"]
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    says = ", and the class that one model of each says" if predicted else ""
    return (
        f"<details><summary>{escape(method)}: {exposed} of {len(rows)} exposed by 50 % or more</summary>"
        f'<div class="scroll"><table><caption>Most exposed samples, with the probability of their label{says}'
        f"</caption><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>\n"
    )


def _worst(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["exposure", "id"], ascending=[False, True], kind="stable").head(WORST)


def _class_name(run: RunFrames, number: int) -> str:
    names = () if run.pictures is None else run.pictures.class_names
    return names[number] if number < len(names) else str(number)


def _label_of(run: RunFrames, sample: int) -> str:
    assert run.pictures is not None
    labels = run.pictures.labels
    if labels.ndim == 2:
        return ", ".join(name for name, has in zip(run.pictures.class_names, labels[sample]) if has)
    return _class_name(run, int(labels[sample]))


def _probability(confidence: float) -> str:
    """Return the probability of the true label in percent, from its log-odds."""
    if math.isnan(confidence):
        return "-"
    probability = 100 / (1 + math.exp(-min(max(confidence, -700), 700)))
    return f"{probability:.0f} %" if 1 <= probability <= 99 else "< 1 %" if probability < 1 else "> 99 %"
