"""The jobs of the prediction pass: whole predictions of small splits, and what is kept of large ones."""

from collections.abc import Sequence

from raybench.jobs import keys
from raybench.jobs.large_splits import large_splits, num_pieces
from raybench.jobs.plan import POPULATION_ROLES, originals_of, untrained_model
from raybench.jobs.specs import EvaluatedModel, PieceFiles, PredictJob, StreamJob
from raybench.scenario.scenario import Scenario


def predict_jobs(
    scenario: Scenario, evaluated: Sequence[EvaluatedModel], population: Sequence[str] = ()
) -> list[PredictJob | StreamJob]:
    """Return one job per piece of a split, with all models that are predicted on it.

    An untrained model is among them if a metric compares with one. The models of a `population`, given by key, are
    predicted only on the splits on which populations are compared.
    """
    compared = [model.key for model in evaluated] + [key for key in [untrained_model(scenario)] if key]
    pieces: dict[tuple[str, int, int], list[tuple[str, str]]] = {}
    large, streamed = large_splits(scenario), []
    for role in scenario.roles:
        models = list(dict.fromkeys([*compared, *(population if role in POPULATION_ROLES else ())]))
        if large.is_streamed(role):
            streamed += _stream_jobs(scenario, role, models, evaluated)
            continue
        for model in models:
            for start, stop, key in keys.predictions_keys(scenario, model, role):
                pieces.setdefault((role, start, stop), []).append((model, key))
    return [*(PredictJob(*piece, tuple(models)) for piece, models in pieces.items()), *streamed]


def _stream_jobs(
    scenario: Scenario, role: str, models: Sequence[str], evaluated: Sequence[EvaluatedModel]
) -> list[StreamJob]:
    """Return the jobs of a split that is never held whole."""
    large = large_splits(scenario)
    kept, pieces = large.kept(role), num_pieces(len(scenario.role_ids(role)))
    originals = dict(zip((model.key for model in evaluated), originals_of(evaluated)))
    retrained = [model.key for model in evaluated if model.kind == "retrained"]
    untrained = untrained_model(scenario)
    files = {model: keys.piece_keys(scenario, model, role, kept=kept) for model in models}

    def references(model: str, name: str | None) -> list[str | None]:
        if name is None:
            return [None]
        if model not in originals:  # of a population, or untrained: compared with nothing
            return []
        others = {"original": [originals[model]], "retrained": [key for key in retrained if key != model]}
        return [*others.get(name, [untrained])]

    statistics = {
        model: [
            (reference, calls, keys.statistics_keys(scenario, model, reference, role, calls))
            for calls in large.groups(role)
            for reference in references(model, calls[0].reference)
        ]
        for model in models
    }

    def of_piece(model: str, piece: int) -> PieceFiles:
        groups = ((reference, calls, paths[piece]) for reference, calls, paths in statistics[model])
        return PieceFiles(model, *files[model][piece], tuple(groups))

    return [
        StreamJob(
            role,
            piece,
            pieces,
            kept,
            tuple(of_piece(model, piece) for model in models),
        )
        for piece in range(pieces)
    ]
