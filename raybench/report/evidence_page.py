"""The evidence on one page, for a reviewer."""

import json
from collections.abc import Mapping
from typing import Any

from raybench.report.search import tuned_on
from raybench.report.table import markdown_table
from raybench.report.versions import code_versions

Evidence = Mapping[str, Any]
NOTHING = "-"


def page(content: Evidence) -> str:
    """Return `evidence.md`."""
    sections = [
        f"# Evidence for run {content['run']}",
        *_verdict(content),
        "Measurements, and how to reproduce them. They do not prove that nothing of the samples remains, and make no "
        "legal statement.",
        "## Request",
        "\n".join(f"- {line}" for line in _request(content)),
        "## Unlearning",
        "\n".join(f"- {line}" for line in _unlearning(content)),
        *(["## Measurements", *_measurements(content)] if content["table"] else []),
        "## Findings",
        "\n".join(f"- {line}" for line in _findings(content)),
        "## Limits",
        "\n".join(f"- {line}" for line in content["limits"]),
        "## Threat model",
        content["threat_model"],
        "## Reproduction",
        *_reproduction(content),
    ]
    return "\n\n".join(sections) + "\n"


def _verdict(content: Evidence) -> list[str]:
    """Return the conclusion on the method, first of all."""
    conclusion = content["conclusion"]
    if conclusion is None:
        return ["**No verdict: no method could be ranked.**"]
    method = content["unlearning"]["method"]
    plain = [f"**{line}**" for line in conclusion["plain"] or [f"No verdict: {conclusion['text']}."]]
    plain[-1] += f" (Verdict: {conclusion['verdict']}; residual memory of `{method}`, all runs.)"
    return plain


def _request(content: Evidence) -> list[str]:
    request, original = content["request"], content["original"]
    num_trained = request["roles"].get("retain", 0) + request["count"]
    rule = ", ".join(f"{key} {_short(value)}" for key, value in (request["forget"] or {}).items())
    checkpoint = original["checkpoint"]
    model = (
        f"the checkpoint `{checkpoint['file']}` (sha256 `{checkpoint['sha256']}`)"
        if checkpoint
        else f"trained by this run (seed {original['seed']}, model id `{original['model']}`)"
    )
    return [
        f"Forget {request['count']} of {num_trained} training samples ({rule}).",
        f"Their ids: `forget_ids.txt` (sha256 `{request['ids_sha256']}`); ids are row numbers of the data set, from 0.",
        f"The original model: {model}.",
        *([_several_originals(content["num_originals"])] if content["num_originals"] > 1 else []),
    ]


def _several_originals(number: int) -> str:
    return (
        f"The methods were compared over {number} originals, trained alike on different seeds; the model below was "
        "made from the one above."
    )


def _unlearning(content: Evidence) -> list[str]:
    unlearning, weights = content["unlearning"], content["unlearned"]
    if unlearning is None:
        return ["No method produced a model that could be ranked; `report.md` gives the reason for each."]
    settings = ", ".join(f"{key} {_short(value)}" for key, value in (unlearning["hyperparameters"] or {}).items())
    sweep = unlearning["sweep"] or {}
    cost = unlearning["cost"].get("relative_cost")
    relative_cost = f", at {100 * cost:.3g} % of the cost of one retraining" if cost is not None else ""
    selection = "Best of the methods that were run."
    if unlearning["method"] in sweep.get("searched", ()):
        selection += (
            f" Its hyperparameters were selected by {sweep['objective']} among at most {sweep['trials']} settings, "
            f"{tuned_on(sweep)}."
        )
    status = f"Status: {unlearning['status']}, {unlearning['reason']}." if unlearning["reason"] else None
    file = (
        f"Result: `unlearned.pt` (sha256 `{weights['sha256']}`)."
        if weights["file"]
        else f"No checkpoint of the result: {weights['reason']}."
    )
    method = f"Method `{unlearning['method']}`, seed {unlearning['seed']}{relative_cost}."
    if checkpoint := unlearning.get("checkpoint"):
        method = (
            f"Method `{unlearning['method']}`: the checkpoint `{checkpoint['file']}` (sha256 "
            f"`{checkpoint['sha256']}`). How it was unlearned is not known here."
        )
    hyperparameters = f"Hyperparameters: {settings}." if settings else None
    return [line for line in (method, hyperparameters, status, selection, file) if line]


def _measurements(content: Evidence) -> list[str]:
    num_retrained = content["num_retrained"]
    reference = (
        "ideal" if not num_retrained else "1 retrained" if num_retrained == 1 else f"{num_retrained} retrained (mean)"
    )
    rows = [
        [
            line["title"],
            metric_text(line),
            estimate_text(line["unlearned"], line),
            estimate_text(line["original"], line),
            reference_text(line),
            str(line["unlearned"]["n"]) if line["unlearned"] and line["unlearned"]["n"] is not None else NOTHING,
        ]
        for line in content["table"]
    ]
    note = (
        "Value [95 % interval over n samples] of the single model in `unlearned.pt`; "
        "`evidence.json` has every metric, `report.md` the other methods and seeds. The findings below refer to the "
        "mean over all seeds of the method."
    )
    return [markdown_table(["", "metric", "unlearned", "original", reference, "n"], rows), note]


def _findings(content: Evidence) -> list[str]:
    if content["unlearning"] is None:
        return list(content["verdict"])
    method = content["unlearning"]["method"]
    findings = [
        f"{method}: {phrase}{' (' + ', '.join(titles) + ')' if titles else ''}"
        for phrase, titles in content["findings"].items()
    ]
    return [*findings, *content["validity"]]


def _reproduction(content: Evidence) -> list[str]:
    environment, unlearning = content["environment"], content["unlearning"]
    packages = ", ".join(f"{key} {value}" for key, value in (environment["packages"] or {}).items() if value)
    method = unlearning["method"] if unlearning else "METHOD"
    commands = [
        "raybench run ../experiment.yaml          # the same experiment; same seeds, same numbers on a CPU",
        f"raybench export {content['run']} --method {method} --out FILE.pt     # the model of any method",
    ]
    lines = ["```bash\n" + "\n".join(commands) + "\n```"]
    if content["unlearned"]["file"]:
        lines.append('```python\nmodel.load_state_dict(torch.load("unlearned.pt", weights_only=True))\n```')
    return [
        *lines,
        f"{code_versions(environment)}, Python {environment['python']}, {packages}; started {content['started']}.",
    ]


def metric_text(line: Mapping[str, Any]) -> str:
    """Return what a line measures, in the form in which its numbers are shown."""
    name = f"{line['metric']}{' on ' + line['split'] if line['split'] else ''}"
    return f"1 - {name}" if line["complement"] else name


def estimate_text(cell: Mapping[str, Any] | None, line: Mapping[str, Any]) -> str:
    """Return a value with its interval."""
    if cell is None or cell["value"] is None:
        return NOTHING
    if cell["low"] is None:
        return _number(cell["value"], line)
    low, high = (_number(cell[end], line) for end in ("low", "high"))
    interval = f"[{high}, {low}]" if line["complement"] else f"[{low}, {high}]"
    return f"{_number(cell['value'], line)} {interval}"


def reference_text(line: Mapping[str, Any]) -> str:
    """Return the value that a line is compared with."""
    reference = line["reference"]
    if reference is None:
        return NOTHING
    return "as original" if isinstance(reference, str) else _number(reference, line)


def _number(value: float, line: Mapping[str, Any]) -> str:
    shown = 1 - value if line["complement"] else value
    return f"{100 * shown:.1f} %" if line["percent"] else f"{shown:.3f}"


def _short(value: Any) -> str:
    """Format a value of the experiment; a long list as its length."""
    if isinstance(value, list) and len(value) > 8:
        return f"({len(value)} values)"
    return value if isinstance(value, str) else json.dumps(value)
