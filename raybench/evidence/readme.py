"""`README.md` of an evidence folder: what is in it, how to verify it, how to run the experiment again."""

from collections.abc import Mapping
from typing import Any

from raybench.evidence.folder import MODEL
from raybench.report.versions import code_versions


def readme(record: Mapping[str, Any]) -> str:
    """Return `README.md`: what is in the folder, how to verify it, and how to run the experiment again."""
    experiment, model = record["experiment"], record["models"]["unlearned"]
    needed = [_needed(item) for item in experiment["needed"]] or ["- nothing: the data set needs no files"]
    method = record["method"]["name"]
    return "\n".join(
        [
            f"# Evidence: {record['run']}, method {method}",
            "",
            record["verdict"]["sentence"],
            "",
            "| file | content |",
            "| --- | --- |",
            "| `evidence.html` | the page to read, print and sign |",
            "| `evidence.json` | the same for programs |",
            f"| `{MODEL}` | state dict of the unlearned model |",
            "| `forget/images.csv` | SHA-256 of every image to forget: of its file, and of its stored pixels |",
            "| `tables/` | what the verdict is computed from: losses of all models on the images to forget, metrics |",
            "| `experiment/` | the experiment, with the modules and lists that it names |",
            "| `SHA256SUMS` | hashes of all other files |",
            "",
            "The original model and the images are not in the folder, because they are what was to be forgotten.",
            "",
            "## Verify",
            "",
            "```bash",
            "sha256sum -c SHA256SUMS        # no file changed",
            "raybench verify .              # that, the model, the images, and the verdict computed again",
            "raybench verify . --data PATH  # also: these are the images to forget",
            "```",
            "",
            "## Run again",
            "",
            "Copy `experiment/` elsewhere, because a run writes files, and put beside `experiment.yaml`:",
            "",
            *needed,
            "",
            "```bash",
            "cp -r experiment ../again && cd ../again",
            f"raybench run experiment.yaml       # the same code gives the same fingerprint, {record['run']}",
            f"raybench certify {record['run'].partition('/')[0]} --method {method} --out evidence",
            "```",
            "",
            "The same seeds give the same numbers on a CPU; the weights of the unlearned model have the SHA-256",
            f"`{model['weights_sha256']}`. It was run with {made_with(record)}.",
            "",
        ]
    )


def _needed(item: Mapping[str, Any]) -> str:
    what = f"SHA-256 `{item['sha256']}`" if item["sha256"] else "the folder of the images"
    return f"- `{item['file']}` (`{item['key']}`): {what}"


def made_with(record: Mapping[str, Any]) -> str:
    """Return the versions of everything that made the run."""
    run = record["environment"]["run"]
    packages = ", ".join(f"{key} {value}" for key, value in (run["packages"] or {}).items() if value)
    return f"{code_versions(run)}, Python {run['python']}, {packages}"
