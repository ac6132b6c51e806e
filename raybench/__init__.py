"""raybench: did the model really forget? Trains, tunes, unlearns and audits image classifiers on Ray."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raybench.methods.run import unlearn as unlearn

__version__ = version("raybench")
__all__ = ["__version__", "unlearn"]


def __getattr__(name: str) -> Any:
    # `raybench --help` must not wait for torch to be imported
    if name == "unlearn":
        from raybench.methods.run import unlearn

        return unlearn
    raise AttributeError(f"module 'raybench' has no attribute {name!r}")
