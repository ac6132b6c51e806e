"""The folder of a run on the storage: `<name>/<fingerprint>`, a fingerprint of everything that decides its results.

That is the experiment without its name, its hardware and its paths, the content of the files that it names, and the
code of its methods and metrics. So the same command resumes in the same folder, also on another machine; a change of a
setting, of the data, of a checkpoint or of the code of a method starts a new folder, which shares what is still valid
through `artifacts/`; and a change of code that only presents results (`report/`) changes no folder.
"""

from pathlib import Path
from typing import Any

from raybench import methods
from raybench.config.schema import Experiment
from raybench.engine.relearning import relearn
from raybench.fingerprints import code_fingerprint
from raybench.methods.framework.run import run
from raybench.metrics.functions.population import population_metrics
from raybench.models.checkpoints import file_digest
from raybench.scenario.scenario import NUMERICS, Scenario
from raybench.scoring import metric_rows
from raybench.scoring.memory import Audits
from raybench.storage.runs import DIGITS
from raybench.storage.store import fingerprint

HARDWARE = {"device", "cpus_per_trial", "gpus_per_trial", "cpus_per_model", "gpus_per_model", "retries", "wait_minutes"}
LOCATIONS = ("root", "download")  # of images, which count by content


def run_folder(scenario: Scenario) -> str:
    """Return the key of the folder of a scenario's run."""
    experiment = scenario.experiment
    run_here = (method for method in experiment.methods if not experiment.checkpoints(method))
    functions = sorted({experiment.function_name(method) for method in run_here})
    chosen = metric_rows.chosen_metrics(experiment.evaluate.metrics)
    decided_by = fingerprint(
        "run",
        NUMERICS,
        [scenario.data_key, scenario.splits_key, scenario.architecture()],
        {role: downstream.key for role, downstream in scenario.downstream.items()},
        settings_by_content(experiment),
        [code_fingerprint(run), *(code_fingerprint(methods.get(name)) for name in functions)],
        metric_rows.code_fingerprints(chosen),
        [code_fingerprint(function) for function in (Audits, population_metrics, relearn)],
    )
    return f"{experiment.name}/{decided_by[:DIGITS]}"


def settings_by_content(experiment: Experiment) -> dict[str, Any]:
    """Return every setting that decides results, defaults included, as plain values without paths."""
    settings = experiment.model_dump(
        mode="json", exclude={"name": True, "resources": HARDWARE, "train": {"checkpoint_minutes"}}
    )
    return {key: _by_content(value) for key, value in settings.items()}


def _by_content(value: Any) -> Any:
    """Return settings with a hash of the content in place of the absolute path of a file; folders of images left out.

    `config.reading` has made the paths of files that exist absolute.
    """
    if isinstance(value, dict):
        return {key: _by_content(item) for key, item in value.items() if key not in LOCATIONS}
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~")) and Path(value).expanduser().is_file():
        return file_digest(value)
    return value
