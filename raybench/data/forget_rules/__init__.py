"""Forget rules: which training samples are to be forgotten. One small file each; `select` runs and checks them."""

import inspect
from typing import Any

import numpy as np

from raybench import registry
from raybench.data.forget_rules.spec import Candidates, ForgetRuleSpec
from raybench.errors import UserError, unknown

PACKAGE = "raybench.data.forget_rules"


def names() -> list[str]:
    """List the forget rules that raybench ships, sorted."""
    return list(registry.discover(PACKAGE, ForgetRuleSpec))


def spec(rule_name: str) -> ForgetRuleSpec:
    """Return the spec of a rule of `names()` or of any importable `package.module.function` marked as one."""
    return registry.spec_of(registry.find("forget rule", rule_name, PACKAGE, ForgetRuleSpec), ForgetRuleSpec)


def select(rule_name: str, candidates: Candidates, **options: Any) -> np.ndarray:
    """Return the sample ids, sorted int64, that the rule selects among `candidates`.

    Raises UserError for an unknown rule or option, for a selection that is empty or leaves nothing to retain, and for
    ids that are not training samples.
    """
    function = registry.find("forget rule", rule_name, PACKAGE, ForgetRuleSpec)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in {p.name for p in parameters}:
            raise unknown(f"option of forget rule {rule_name!r}:", option, (p.name for p in parameters))
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise UserError(f"forget rule {rule_name!r} needs {', '.join(missing)}")
    chosen = np.asarray(function(candidates, **options))
    if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
        raise UserError(f"forget rule {rule_name!r} returned {chosen.dtype}, not integer sample ids")
    ids = np.unique(chosen.astype(np.int64))
    foreign = np.setdiff1d(ids, candidates.ids)
    if len(foreign):
        listed = ", ".join(str(i) for i in foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise UserError(
            f"forget rule {rule_name!r} selects {len(foreign)} ids that are not training samples: {listed} (there is "
            f"no such sample, or it has another role; the {len(candidates.ids)} training ids lie between "
            f"{candidates.ids.min()} and {candidates.ids.max()})"
        )
    if len(ids) == 0:
        raise UserError(f"forget rule {rule_name!r} with {options} selects nothing: there is nothing to forget")
    if len(ids) == len(candidates.ids):
        raise UserError(
            f"forget rule {rule_name!r} with {options} selects all {len(ids)} training samples: none is left to retain"
        )
    return ids
