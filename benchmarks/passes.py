"""How many forward passes an evaluation makes, against a pass per metric, as the sources' scripts do. Counted.

    python benchmarks/passes.py [experiments/quickstart.yaml ...]

A pass is one model over one split. Evaluated metric by metric, every metric runs the passes that it reads: of the
model, of the original, of each retrained model, for one alpha after the other where it takes one. raybench makes every
pass once and stores it. `alphas shared` grants the other side that one pass serves all alphas. Nothing is run or timed.
"""

import sys
from pathlib import Path

from raybench.config.reading import load_experiment
from raybench.config.schema import Experiment
from raybench.data.splits import ROLES
from raybench.scoring import binding, metric_rows

ROOT = Path(__file__).parents[1] / "experiments"
DEFAULT = [ROOT / "quickstart.yaml", ROOT / "uuef" / "resnet50_random100_corrected.yaml"]
Pass = tuple[str, str]  # whose, over what


def read_by(name: str, split: str | None, model: str, retrained: list[str]) -> set[Pass]:
    """Return the passes that one metric of one model reads on one split."""
    found: set[Pass] = set()
    for argument in binding.input_names(binding.get_metric(name)):
        part = binding.parse_input(argument, name, split=split or "")
        if part.metric is not None:
            spec = binding.metric_spec(binding.get_metric(part.metric))
            for owner in {"original": ["original"], "retrained": retrained, None: [model]}[part.reference]:
                for where in spec.splits or (None,):
                    found |= read_by(part.metric, where, owner, retrained)
        elif part.array in ("logits", "labels", "features"):
            owners = {"original": ["original"], "retrained": retrained, None: [model]}[part.reference]
            found |= {(owner, part.split) for owner in owners}
    return found


def count(experiment: Experiment) -> tuple[int, int, int]:
    """Return the passes of a pass per metric and alpha, of a pass per metric, and of raybench."""
    downstream = list(experiment.evaluate.downstream)
    retrained = [f"retrained {seed}" for seed in experiment.train.seeds]
    unlearned = [f"{m} {i}" for m in experiment.methods for i in range(experiment.sweep.seeds)]
    models = ["original", *retrained, *unlearned]
    each = shared = 0
    for model in models:
        others = [name for name in retrained if name != model]
        for name in metric_rows.chosen_metrics(experiment.evaluate.metrics, downstream=bool(downstream)):
            function = binding.get_metric(name)
            where = binding.metric_spec(function).splits or (None,)
            splits = [s for part in where for s in (downstream if part == binding.DOWNSTREAM else [part])]
            times = len(experiment.evaluate.alphas) if "alpha" in binding.input_names(function) else 1
            for split in splits:
                passes = len(read_by(name, split, model, others))
                each, shared = each + times * passes, shared + passes
    return each, shared, len(models) * (len(ROLES) + len(downstream))


def main() -> None:
    print(f"{'experiment':42}{'per alpha':>11}{'alphas shared':>15}{'raybench':>10}{'fewer':>16}")
    for path in map(Path, sys.argv[1:] or DEFAULT):
        experiment, _ = load_experiment(path)
        each, shared, own = count(experiment)
        print(f"{experiment.name:42}{each:11,}{shared:15,}{own:10,}{each / own:8.1f}x{shared / own:7.1f}x")


if __name__ == "__main__":
    main()
