"""raybench: did the model really forget? Trains, tunes, unlearns and audits image classifiers on Ray.

This module exports the Python API and the names for user-defined methods, metrics and data sets. It imports them on
first use, so that `raybench --help` does not wait for torch:

    from raybench import Count, Rate, UnlearningTask, method
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raybench.api.audit import audit as audit
    from raybench.api.audited import Audit as Audit
    from raybench.api.run import Run as Run
    from raybench.api.run import open as open
    from raybench.api.run import run as run
    from raybench.data.forget_rules.framework.spec import Candidates as Candidates
    from raybench.data.forget_rules.framework.spec import forget_rule as forget_rule
    from raybench.data.images import ImageData as ImageData
    from raybench.data.images import dataset as dataset
    from raybench.errors import UserError as UserError
    from raybench.methods.framework.run import unlearn as unlearn
    from raybench.methods.framework.spec import Count as Count
    from raybench.methods.framework.spec import Fraction as Fraction
    from raybench.methods.framework.spec import Natural as Natural
    from raybench.methods.framework.spec import Rate as Rate
    from raybench.methods.framework.spec import Weight as Weight
    from raybench.methods.framework.spec import method as method
    from raybench.methods.framework.task import UnlearningTask as UnlearningTask
    from raybench.metrics.framework.row_wise import row_wise as row_wise
    from raybench.metrics.framework.spec import Estimate as Estimate
    from raybench.metrics.framework.spec import metric as metric
    from raybench.metrics.framework.streaming import mergeable as mergeable

_EXPORTS = {
    "Audit": "raybench.api.audited",
    "Candidates": "raybench.data.forget_rules.framework.spec",
    "Count": "raybench.methods.framework.spec",
    "Estimate": "raybench.metrics.framework.spec",
    "ImageData": "raybench.data.images",
    "Natural": "raybench.methods.framework.spec",
    "Rate": "raybench.methods.framework.spec",
    "Fraction": "raybench.methods.framework.spec",
    "Run": "raybench.api.run",
    "UnlearningTask": "raybench.methods.framework.task",
    "UserError": "raybench.errors",
    "Weight": "raybench.methods.framework.spec",
    "audit": "raybench.api.audit",
    "dataset": "raybench.data.images",
    "forget_rule": "raybench.data.forget_rules.framework.spec",
    "mergeable": "raybench.metrics.framework.streaming",
    "method": "raybench.methods.framework.spec",
    "metric": "raybench.metrics.framework.spec",
    "open": "raybench.api.run",
    "row_wise": "raybench.metrics.framework.row_wise",
    "run": "raybench.api.run",
    "unlearn": "raybench.methods.framework.run",
}

__version__ = version("raybench")
__all__ = ["__version__", *(name for name in _EXPORTS if name != "open")]  # `import *` must not replace Python's `open`


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'raybench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "open"])
