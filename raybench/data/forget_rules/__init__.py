"""Forget rules: which training samples to forget.

Every module of this folder is one rule, a function decorated with `@forget_rule`; the name of the function is the value
of `forget.rule` in an experiment. To add a rule, add a file here, or name your own function `package.module.function`.
`framework/` holds what rules are made of: the decorator and the `Candidates` that a rule selects from (`spec`), checks
of amounts (`amount`), lists of sample ids (`id_list`) and classes (`classes`).
"""

import inspect
from typing import Any

import numpy as np

from raybench import registry
from raybench.data import id_sets
from raybench.data.forget_rules.framework.spec import Candidates, ForgetRuleSpec
from raybench.data.listing import first_few
from raybench.errors import UserError, unknown

PACKAGE = "raybench.data.forget_rules"


def names() -> list[str]:
    """List the forget rules of raybench, sorted."""
    return list(registry.discover(PACKAGE, ForgetRuleSpec))


def spec(rule_name: str) -> ForgetRuleSpec:
    """Return the spec of a rule of `names()` or of a decorated `package.module.function`."""
    return registry.spec_of(registry.find("forget rule", rule_name, PACKAGE, ForgetRuleSpec), ForgetRuleSpec)


def select(rule_name: str, candidates: Candidates, **options: Any) -> np.ndarray:
    """Run a rule and return the selected sample ids, sorted int64.

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
    selected = np.asarray(function(candidates, **options))
    if selected.size and not np.issubdtype(selected.dtype, np.integer):
        raise UserError(f"forget rule {rule_name!r} returned {selected.dtype}, not integer sample ids")
    ids = np.unique(selected.astype(np.int64))
    foreign = id_sets.without(ids, candidates.ids)
    if len(foreign):
        raise UserError(
            f"forget rule {rule_name!r} selects {len(foreign)} ids that are not training samples: {first_few(foreign)} "
            f"(no such sample exists, or it has another role; the {len(candidates.ids)} training ids lie between "
            f"{candidates.ids.min()} and {candidates.ids.max()})"
        )
    if len(ids) == 0:
        raise UserError(f"forget rule {rule_name!r} with {options} selects no sample; nothing would be forgotten")
    if len(ids) == len(candidates.ids):
        raise UserError(
            f"forget rule {rule_name!r} with {options} selects all {len(ids)} training samples; none is left to retain"
        )
    return ids
