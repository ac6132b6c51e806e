"""The page of an evidence folder: the verdict first, then the request, what was done, measured and not tested.

One file without scripts and without a network, in black on white on paper. Rendered from `evidence.json` alone.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any

from raybench.evidence.folder import BLANK, MODEL
from raybench.evidence.readme import made_with
from raybench.report.conclusion import FORGOTTEN, REMEMBERS, percent
from raybench.report.evidence_page import estimate_text, metric_text, reference_text

NOT_GIVEN = "not given"
TITLES = {
    "UA": "unlearning accuracy (UA)",
    "RA": "retain accuracy (RA)",
    "TA": "test accuracy (TA)",
    "FA-TA": "forget minus test accuracy (FA-TA)",
    "MIA AUC": "membership inference attack (MIA AUC), 0.5 = chance",
    "MG": "memory gap (MG)",
    "CR_f": "conformal ratio (CR_f)",
    "k-NN_f": "accuracy of nearest neighbors (k-NN_f)",
    "CKA_f": "feature similarity to retrained models (CKA_f)",
}


def page(record: Mapping[str, Any]) -> str:
    """Return `evidence.html`, with zeros where `seal` prints the digest."""
    request, method = record["request"], record["method"]["name"]
    style = (resources.files("raybench.evidence") / "page.css").read_text(encoding="utf-8")
    sections = [
        ("Request", _terms(_request(record))),
        ("Models", _models(record)),
        ("Images to forget", _forgotten(record)),
        ("Measurements", _measurements(record)),
        ("What this evidence does not show", _list([*record["limits"], *record["validity"]])),
        ("Not tested", _list(record["not_tested"])),
        ("Threat model", _paragraph(record["threat_model"])),
        ("How to check and repeat this", _reproduction(record)),
    ]
    body = "\n".join(f"<section>\n<h2>{title}</h2>\n{content}\n</section>" for title, content in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unlearning evidence {escape(request["id"])} {escape(request["date"])}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<p class="kind">Evidence on a request to forget{_of(request["id"])}, {escape(request["date"])}</p>
<h1>Did the model forget?</h1>
</header>
<main>
{_verdict(record)}
{body}
<section class="sign">
<h2>Digest and signature</h2>
<p>SHA-256 of everything in this folder. File or sign it elsewhere: whoever can rewrite the whole folder can also
rewrite the hashes in it, but not this number on your copy.</p>
<p class="digest" id="digest">{BLANK}</p>
<table class="lines"><tbody>
<tr><td>Name and role</td><td></td><td>Date and place</td><td></td></tr>
<tr><td>Signature</td><td></td><td>Operator</td><td>{escape(request["operator"] or "")}</td></tr>
</tbody></table>
</section>
</main>
<footer><p>raybench {escape(record["made_by"])}; run {escape(record["run"])}, method {escape(method)}. These are
measurements. They make no legal statement.</p></footer>
</body>
</html>
"""


def _of(request: str) -> str:
    return f" {escape(request)}" if request else ""


def _verdict(record: Mapping[str, Any]) -> str:
    verdict = record["verdict"]
    kind = {FORGOTTEN: "forgotten", REMEMBERS: "remembers"}.get(verdict["word"], "no-difference")
    first = "".join(f'<p class="first">{escape(line)}</p>\n' for line in verdict["first"])
    damage = "".join(f"<p>{escape(line)}</p>\n" for line in verdict["damage"])
    memory = verdict["memory"]
    own = verdict["models"][_position(record)]
    single = (
        f"{percent(own['value'])} %, between {percent(own['low'])} % and {percent(own['high'])} %"
        if own["value"] is not None
        else "not measurable alone"
    )
    rows = [
        ("models that never saw the images", "0 %"),
        ("the original model", "100 %"),
        (
            f"method <b>{escape(record['method']['name'])}</b>, {verdict['runs']} "
            f"{'model' if verdict['runs'] == 1 else 'models'}",
            f"<b>{percent(memory['value'])} %</b>, between {percent(memory['low'])} % and {percent(memory['high'])} %",
        ),
        ("the model in this folder alone", single),
    ]
    table = "".join(f"<tr><th scope=row>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"""<section class="verdict {kind}">
{first}<p class="sentence">{escape(verdict["sentence"])}</p>
{damage}<table><caption>Residual memory: how much of what the original model knows about the images to forget is left;
estimate and one-sided 95 % bounds</caption><tbody>{table}</tbody></table>
<p class="note">A method counts as having forgotten if at most {percent(verdict["margin"])} % is left at the upper
bound. The verdict is on the method; it rests on {verdict["runs"]} of its models and {record["num_retrained"]} models
that were trained without the images.</p>
</section>"""


def _position(record: Mapping[str, Any]) -> int:
    """Return which model of the method is in the folder."""
    filed = record["models"]["unlearned"]["model"]
    return next(number for number, own in enumerate(record["verdict"]["models"]) if own["model"] == filed)


def _request(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    request, forgotten = record["request"], record["forgotten"]
    rule = ", ".join(f"{key} {_short(value)}" for key, value in (forgotten["rule"] or {}).items())
    return [
        ("Request id", escape(request["id"] or NOT_GIVEN)),
        ("Date", escape(request["date"])),
        ("Operator", escape(request["operator"] or NOT_GIVEN)),
        ("To forget", f"{forgotten['count']} images of the data set {escape(forgotten['data'])} ({escape(rule)})"),
        ("Run", f"{escape(record['run'])}, started {escape(record['started'])}"),
    ]


def _models(record: Mapping[str, Any]) -> str:
    method, after, before = record["method"], record["models"]["unlearned"], record["models"]["original"]
    given = {key: value for key, value in method["hyperparameters"].items() if value is not None}
    settings = ", ".join(f"{key} {_short(value)}" for key, value in given.items())
    cost = record["verdict"]["relative_cost"]
    terms = [
        ("Method", f"{escape(method['name'])}, seed {after['seed']}{_cost(cost)}"),
        ("Hyperparameters", f"{escape(settings)}. {escape(method['selection'])}"),
        ("Architecture", escape(record["architecture"])),
        ("Before", f"original {before['number'] if 'number' in before else before['original']}, {_hashes(before)}"),
        ("After", f"<code>{MODEL}</code>, {_hashes(after)}"),
    ]
    if method["reason"]:
        terms.insert(2, ("Status", escape(f"{after['status']}: {method['reason']}")))
    if checkpoint := record["checkpoint"]:
        terms.insert(3, ("Given checkpoint", f"{escape(checkpoint['file'])}<br>{_code('file', checkpoint['sha256'])}"))
    return _terms(terms)


def _cost(cost: float | None) -> str:
    return "" if cost is None else f", at {100 * cost:.3g} % of the cost of one retraining"


def _hashes(model: Mapping[str, Any]) -> str:
    if not model["sha256"]:
        return "its weights are no longer in the storage"
    return f"SHA-256<br>{_code('file', model['sha256'])}<br>{_code('weights', model['weights_sha256'])}"


def _code(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code> ({name})"


def _forgotten(record: Mapping[str, Any]) -> str:
    forgotten = record["forgotten"]
    terms = [
        ("Hashes", f"<code>forget/images.csv</code>, {forgotten['count']} images"),
        ("Hashed", escape(forgotten["hashed"])),
        ("All of them, in any order", f"<code>{forgotten['set_sha256']}</code> (SHA-256 of the sorted hashes)"),
        ("Data set", f"content {escape(forgotten['data_key'])}, roles {escape(forgotten['splits_key'])}"),
    ]
    if manifest := forgotten["manifest"]:
        terms.append(("Manifest", f"{escape(manifest['file'])}, SHA-256<br><code>{manifest['sha256']}</code>"))
    return _terms(terms)


def _measurements(record: Mapping[str, Any]) -> str:
    number = record["num_retrained"]
    reference = f"{number} retrained (mean)" if number > 1 else "1 retrained" if number else "ideal"
    head = "".join(f"<th>{text}</th>" for text in ("", "this model", "original", reference, "n"))
    rows = []
    for line in record["measurements"]:
        own, title = line["unlearned"], line["title"]
        name = f"{TITLES.get(title, title)} <small>{escape(metric_text(line))}</small>"
        cells = [estimate_text(own, line), estimate_text(line["original"], line), reference_text(line)]
        n = own["n"] if own and own["n"] is not None else None
        cells.append("-" if n is None else str(int(n)))
        rows.append(f"<tr><th scope=row>{name}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    forget = _forget_accuracy(record)
    note = (
        "Value [95 % interval over n samples] of the single model in this folder. Good values are those of the "
        f"retrained models.{forget}"
    )
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f"{table}\n{_paragraph(note)}"


def _forget_accuracy(record: Mapping[str, Any]) -> str:
    """Return the accuracy on forget samples in words, because its complement is what papers report."""
    line = next((line for line in record["measurements"] if line["complement"]), None)
    if line is None or line["unlearned"] is None or line["unlearned"]["value"] is None:
        return ""
    plain = {**line, "complement": False}
    before = f" (the original {estimate_text(line['original'], plain)})" if line["original"] else ""
    return (
        f" Unlearning accuracy is 1 - accuracy on the images to forget: this model classifies "
        f"{estimate_text(line['unlearned'], plain)} of them correctly{before}."
    )


def _reproduction(record: Mapping[str, Any]) -> str:
    commands = (
        "sha256sum -c SHA256SUMS           # no file of this folder changed\n"
        "raybench verify . --digest DIGEST # that, the model, the images, and the verdict computed again\n"
        "raybench verify . --data PATH     # also: the images in PATH are the forgotten ones\n"
        "raybench run experiment.yaml      # in a copy of experiment/: everything again; README.md says what to add"
    )
    return f"<pre>{escape(commands)}</pre>\n{_paragraph(f'Made with {made_with(record)}.')}"


def _terms(terms: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in terms) + "</dl>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _short(value: Any) -> str:
    """Format a value of the experiment; a long list as its length."""
    if isinstance(value, list) and len(value) > 8:
        return f"({len(value)} values)"
    return value if isinstance(value, str) else json.dumps(value)
