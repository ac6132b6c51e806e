"""Count the forward passes of an evaluation, against one pass per metric, as the code of most papers does.

    python benchmarks/passes.py [experiments/quickstart.yaml ...] [--short]

A pass is one model over one split. Evaluated metric by metric, each metric runs the passes that it reads: those of the
model, the original, the retrained models and the untrained model, and again for each alpha if it takes one. raybench
runs every pass once and stores it. In the column `alphas shared` one pass of the baseline serves all alphas. Nothing is
run or timed. --short counts the quickstart alone.
"""

import argparse
from pathlib import Path

from raybench.config.reading import load_experiment
from raybench.config.schema import Experiment
from raybench.data.splits import ROLES
from raybench.scoring import binding, metric_rows

ROOT = Path(__file__).parents[1] / "experiments"
DEFAULT = [ROOT / "quickstart.yaml", ROOT / "uuef" / "resnet50_random100_corrected.yaml"]
UNTRAINED = "untrained"
Pass = tuple[str, str]  # model, split


def passes_read(name: str, split: str | None, model: str, original: str, retrained: list[str]) -> set[Pass]:
    """Return the passes that one metric of one model reads on one split."""
    passes: set[Pass] = set()
    owners = {
        None: [model],
        "original": [original],
        "retrained": retrained,
        "shadow": retrained,  # the retrained models serve as shadow models
        "untrained": [UNTRAINED],
    }
    for argument in binding.input_names(binding.get_metric(name)):
        part = binding.parse_input(argument, name, split=split or "")
        if part.metric is not None:
            spec = binding.metric_spec(binding.get_metric(part.metric))
            for owner in owners[part.reference]:
                for where in spec.splits or (None,):
                    passes |= passes_read(part.metric, where, owner, original, retrained)
        elif part.array in ("logits", "labels", "features"):
            passes |= {(owner, part.split) for owner in owners[part.reference]}
    return passes


def count(experiment: Experiment) -> tuple[int, int, int]:
    """Return the passes with one per metric and alpha, with one per metric, and of raybench."""
    downstream = list(experiment.evaluate.downstream)
    originals = [f"original {number}" for number in range(experiment.sweep.originals)]
    retrained = [f"retrained {seed}" for seed in experiment.train.seeds]
    starts = dict(zip(originals, originals)) | dict.fromkeys(retrained, originals[0])
    for method in experiment.methods:
        starts |= {f"{method} {i}": originals[i % len(originals)] for i in range(experiment.sweep.seeds)}
    models = list(starts)
    per_alpha = per_metric = 0
    distinct: set[Pass] = set()
    for model in models:
        others = [name for name in retrained if name != model]
        for name in metric_rows.chosen_metrics(experiment.evaluate.metrics, downstream=bool(downstream)):
            function = binding.get_metric(name)
            where = binding.metric_spec(function).splits or (None,)
            splits = [s for part in where for s in (downstream if part == binding.DOWNSTREAM else [part])]
            alphas = len(experiment.evaluate.alphas) if "alpha" in binding.input_names(function) else 1
            for split in splits:
                passes = passes_read(name, split, model, starts[model], others)
                per_alpha, per_metric = per_alpha + alphas * len(passes), per_metric + len(passes)
                distinct |= passes
    if any(model == UNTRAINED for model, _ in distinct):
        models.append(UNTRAINED)
    return per_alpha, per_metric, len(models) * (len(ROLES) + len(downstream))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", type=Path, default=DEFAULT)
    parser.add_argument("--short", action="store_true", help="count the quickstart alone")
    arguments = parser.parse_args()
    print(f"{'experiment':42}{'per alpha':>11}{'alphas shared':>15}{'raybench':>10}{'fewer':>16}")
    for path in DEFAULT[:1] if arguments.short else arguments.experiments:
        experiment, _ = load_experiment(path)
        per_alpha, per_metric, raybench = count(experiment)
        ratios = f"{per_alpha / raybench:8.1f}x{per_metric / raybench:7.1f}x"
        print(f"{experiment.name:42}{per_alpha:11,}{per_metric:15,}{raybench:10,}{ratios}")


if __name__ == "__main__":
    main()
