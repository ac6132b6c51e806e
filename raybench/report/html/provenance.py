"""Where the numbers come from, how to reproduce them, and the numbers reported in a paper."""

import re
import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd
import yaml

from raybench.report.html.leaderboard_table import name_cell, sortable
from raybench.report.versions import code_versions


def reproduction(name: str, manifest: Mapping[str, Any], method: str | None) -> str:
    """Return the commands that repeat the run, and the experiment file; `method`: one whose model can be exported."""
    run = shlex.quote(name)
    commands = [
        "raybench run experiment.yaml   # the file below; same seeds, same numbers on a CPU",
        f"raybench report {run}   # this page again, from the tables",
    ]
    if method is not None:
        commands.append(f"raybench export {run} --method {shlex.quote(method)} --out unlearned.pt")
    return (
        f"<pre>{escape(chr(10).join(commands))}</pre>\n<details><summary>experiment.yaml</summary>"
        f"<pre>{escape(str(manifest['experiment']).rstrip())}</pre></details>"
    )


def environment(manifest: Mapping[str, Any]) -> str:
    """Return versions, host, seeds and schema as a list of terms."""
    host = manifest["host"]
    gpus = ", ".join(str(gpu) for gpu in host["gpus"]) or "none"
    facts = {
        "code": code_versions(manifest),
        "started": manifest["started"],
        "host": f"{host['system']}, {host['cpus']} CPUs, GPUs: {gpus}",
        "Python": manifest.get("python"),
        "packages": ", ".join(f"{key} {value}" for key, value in manifest["packages"].items() if value),
        "seeds": _seeds(manifest.get("seeds")),
        "checkpoints": _files(manifest.get("checkpoints") or {}),
        "table schema": manifest.get("schema_version"),
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    return f"<dl>{items}</dl>"


def _files(checkpoints: Mapping[str, Any]) -> str:
    """Return the files of models that the user brought, by role."""
    files = {
        role: ", ".join(f"{file['file']} (sha256 {file['sha256'][:16]})" for file in listed)
        for role, listed in checkpoints.items()
    }
    return "; ".join(f"{role}: {listed}" for role, listed in files.items())


def _seeds(seeds: Any) -> str | None:
    if not isinstance(seeds, Mapping):
        return None
    texts = {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in seeds.items()}
    return "; ".join(f"{key} {text}" for key, text in texts.items() if text is not None)


def dataset_of(manifest: Mapping[str, Any]) -> str:
    """Return the data set that the experiment names, empty if it cannot be told."""
    content = yaml.safe_load(manifest["experiment"])
    data = content.get("data") if isinstance(content, dict) else None
    return str(data.get("dataset") or "") if isinstance(data, dict) else ""


def reported_table(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """Return the table of reported numbers beside ours; `frame`: `reported.parquet`."""
    rows = frame[frame.reported.notna() & (frame.released.notna() | frame.corrected.notna())]
    papers = sorted(set(frame.dataset.dropna()))
    own = dataset_of(manifest)
    warning = ""
    if own and papers and not any(_plain(own) in _plain(paper) or _plain(paper) in _plain(own) for paper in papers):
        text = f"This run uses {own}, the paper {', '.join(papers)}: do not compare the numbers."
        warning = f'<p class="warning">{escape(text)}</p>\n'
    head = [
        ("method", "text"),
        ("metric", "text"),
        ("reported", "number"),
        ("as released", "number"),
        ("corrected", "number"),
        ("reported - released", "number"),
    ]
    lines = []
    for row in rows.to_dict("records"):
        title = " ".join(str(row[key]) for key in ("metric", "split", "metric_setting") if pd.notna(row[key]))
        digits = 4 if row["unit"] == "fraction" else 2
        cells = [f'<td class="text" data-value="{escape(title)}">{escape(title)}</td>']
        for key in ("reported", "released", "corrected", "difference"):
            value = row[key]
            sign = "+" if key == "difference" else ""
            cells.append(
                "<td>-</td>" if pd.isna(value) else f'<td data-value="{value:.9g}">{value:{sign}.{digits}f}</td>'
            )
        lines.append(f"<tr>{name_cell(str(row['method']))}{''.join(cells)}</tr>")
    return warning + sortable("reported", "Reported and measured numbers", head, lines)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
