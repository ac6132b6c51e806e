"""The evidence on one page, for a reviewer who was not there."""

import json
from collections.abc import Mapping
from typing import Any

from raybench.report.table import markdown_table

Found = Mapping[str, Any]
NOTHING = "-"


def page(found: Found) -> str:
    """Return `evidence.md`."""
    sections = [
        f"# Evidence of run {found['run']}",
        "A measurement of one model and a named set of samples, and how to repeat it. It is no proof that nothing of "
        "the samples is left, and no statement about any law.",
        "## What was asked",
        "\n".join(f"- {line}" for line in _asked(found)),
        "## What was done",
        "\n".join(f"- {line}" for line in _done(found)),
        *(["## What was measured", *_measured(found)] if found["shown"] else []),
        "## What it shows",
        "\n".join(f"- {line}" for line in _shows(found)),
        "## What it cannot show",
        "\n".join(f"- {line}" for line in found["limits"]),
        "## How to repeat it",
        *_repeat(found),
    ]
    return "\n\n".join(sections) + "\n"


def _asked(found: Found) -> list[str]:
    asked, original = found["asked"], found["original"]
    trained = asked["roles"].get("retain", 0) + asked["count"]
    rule = ", ".join(f"{key} {_short(value)}" for key, value in (asked["forget"] or {}).items())
    given = original["checkpoint"]
    model = (
        f"the checkpoint `{given['file']}` (sha256 `{given['sha256']}`)"
        if given
        else f"a model that this run trained (fingerprint `{original['model']}`)"
    )
    return [
        f"Forget {asked['count']} of {trained} training samples ({rule}).",
        f"Their ids: `forget_ids.txt` (sha256 `{asked['ids_sha256']}`); an id is a row number of the data set, from 0.",
        f"The model: {model}.",
    ]


def _done(found: Found) -> list[str]:
    done, kept = found["done"], found["unlearned"]
    if done is None:
        return ["No method ended with a model that could be ranked; `report.md` says why for each of them."]
    settings = ", ".join(f"{key} {_short(value)}" for key, value in (done["hyperparameters"] or {}).items())
    sweep = done["sweep"] or {}
    cost = done["cost"].get("relative_cost")
    share = f", at {100 * cost:.3g} % of the work of one retraining" if cost is not None else ""
    chosen = (
        f"Best of the methods tried; its setting was chosen by {sweep['objective']} on validation samples, among at "
        f"most {sweep['trials']} settings a method. The numbers below are of samples that the choice did not see."
        if sweep
        else "Best of the methods tried."
    )
    ended = f"It was {done['status']}: {done['reason']}." if done["reason"] else None
    file = (
        f"The result: `unlearned.pt` (sha256 `{kept['sha256']}`)."
        if kept["file"]
        else f"No file of the result: {kept['reason']}."
    )
    lines = [f"Method `{done['method']}`, seed {done['seed']}{share}.", f"Hyperparameters: {settings}.", ended]
    return [line for line in [*lines, chosen, file] if line]


def _measured(found: Found) -> list[str]:
    retrained = found["num_retrained"]
    against = f"{retrained} retrained (mean)" if retrained > 1 else "1 retrained" if retrained else "ideal"
    rows = [
        [
            line["title"],
            f"{line['metric']}{' of ' + line['split'] if line['split'] else ''}",
            _estimate(line["unlearned"], line),
            _estimate(line["original"], line),
            _anchor(line),
            str(line["unlearned"]["n"]) if line["unlearned"] and line["unlearned"]["n"] is not None else NOTHING,
        ]
        for line in found["shown"]
    ]
    note = (
        "Value [95 % interval over n samples] of the one model in `unlearned.pt`; UA is 1 - accuracy. Every metric is "
        "in `evidence.json`, the other methods and seeds are in `report.md`. What is said below is of the method over "
        "all its seeds."
    )
    return [markdown_table(["", "metric", "unlearned", "original", against, "n"], rows), note]


def _shows(found: Found) -> list[str]:
    if found["done"] is None:
        return found["verdict"]
    method = found["done"]["method"]
    own = [
        f"{method}: {words}{' (' + ', '.join(titles) + ')' if titles else ''}"
        for words, titles in found["findings"].items()
    ]
    return [*own, *(line for line in found["verdict"] if line.startswith(("control:", "power:", "anchor:")))]


def _repeat(found: Found) -> list[str]:
    made, done = found["made_with"], found["done"]
    packages = ", ".join(f"{key} {value}" for key, value in (made["packages"] or {}).items() if value)
    other = done["method"] if done else "METHOD"
    commands = [
        "raybench run ../experiment.yaml          # the experiment as it was run; same seeds, same numbers on a CPU",
        f"raybench export {found['run']} --method {other} --out FILE.pt     # any method's model",
    ]
    lines = ["```bash\n" + "\n".join(commands) + "\n```"]
    if found["unlearned"]["file"]:
        lines.append('```python\nmodel.load_state_dict(torch.load("unlearned.pt", weights_only=True))\n```')
    return [
        *lines,
        f"raybench {made['raybench']}, commit {made['git_commit']}, Python {made['python']}, {packages}; started "
        f"{found['started']}.",
    ]


def _estimate(cell: Mapping[str, Any] | None, line: Mapping[str, Any]) -> str:
    if cell is None or cell["value"] is None:
        return NOTHING
    ends = "" if cell["low"] is None else f" [{_number(cell['low'], line)}, {_number(cell['high'], line)}]"
    if line["complement"] and ends:
        ends = f" [{_number(cell['high'], line)}, {_number(cell['low'], line)}]"
    return f"{_number(cell['value'], line)}{ends}"


def _anchor(line: Mapping[str, Any]) -> str:
    anchor = line["anchor"]
    return NOTHING if anchor is None else "the original's" if isinstance(anchor, str) else _number(anchor, line)


def _number(value: float, line: Mapping[str, Any]) -> str:
    shown = 1 - value if line["complement"] else value
    return f"{100 * shown:.1f} %" if line["percent"] else f"{shown:.3f}"


def _short(value: Any) -> str:
    """Return a value of the experiment in few words: a long list is its length."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"({len(value)} values)" if isinstance(value, list) and len(value) > 8 else text
