"""The names of torchvision's classifiers, read from its source: importing it takes 2 s and 160 MB.

An experiment is validated in every process that reads it, and most of them build no model.
"""

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

SMALL_TRANSFORMERS: Mapping[str, Mapping[str, int]] = {
    "vit_s_16": {"hidden_dim": 384, "num_heads": 6, "mlp_dim": 1536},
    "vit_ti_16": {"hidden_dim": 192, "num_heads": 3, "mlp_dim": 768},
}
REGISTERED = re.compile(r"^@register_model\((?:name=)?(?:[\"'](\w+)[\"'])?\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of torchvision's classification models and of the small transformers, sorted."""
    return tuple(sorted({*_registered(), *SMALL_TRANSFORMERS}))


def _registered() -> list[str]:
    spec = importlib.util.find_spec("torchvision")  # finds a package without importing it
    files = [] if spec is None or spec.origin is None else sorted((Path(spec.origin).parent / "models").glob("*.py"))
    registered = [match for file in files for match in REGISTERED.findall(file.read_text(encoding="utf-8"))]
    if registered:
        return [name or function for name, function in registered]
    from torchvision import models  # its source is not there, or has another form

    return [*models.list_models(module=models)]
