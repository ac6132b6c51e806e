"""What an experiment file may say of images: `data`, and the sets of `evaluate.downstream`.

The rest of the file is `experiment.py`.
"""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from raybench import registry
from raybench.data.images import DatasetSpec
from raybench.data.transforms.views import View
from raybench.errors import UserError, about, unknown


def _size(value: Any) -> Any:
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not (value is None or count or (isinstance(value, float) and 0 < value < 1)):
        raise ValueError("must be a count, a share between 0 and 1, or null for the rest of the pool")
    return value


Size = Annotated[int | float | None, BeforeValidator(_size)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mislabel(Part):
    """Give this share of all samples a wrong label, as annotators do; every role gets the same noise."""

    fraction: Share
    seed: int = 0


class Sizes(Part):
    """How many samples each role gets: a count, a fraction of its pool, or null for the rest of it."""

    train: Size = None
    validation: Size = 0.1
    calibration: Size = 0.2
    test: Size = None
    unseen: Size = 0.4


class Normalize(Part):
    """Mean and standard deviation per channel of pixels / 255, instead of the dataset's own."""

    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Images(Part):
    """Which images, and how a model sees them.

    `view`, for images that are files of any size: the square that a model sees of each. `stream`: decode them again and
    again, instead of once into memory (auto: where they would take more than 8 GB).
    """

    dataset: str
    root: str | None = None
    download: bool = False
    options: dict[str, Any] = {}
    resize: Positive | None = None
    view: View | None = None
    stream: Literal["auto"] | bool = "auto"
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    deduplicate: Literal["none", "perceptual_hash"] = "none"
    normalize: Literal["dataset", "none"] | Normalize = "dataset"

    def check(self, *at: str) -> None:
        """Refuse a dataset or an option that does not exist, naming the key under `at`."""
        with about(*at, "dataset"):
            function = registry.find("dataset", self.dataset, "raybench.data.formats", DatasetSpec)
        refuse_unknown((*at, "options"), f"option of dataset {self.dataset}:", self.options, function, {"download"})


class Data(Images):
    """The images that models are trained on, and how they are cut into roles.

    `short_side_cache`, for images that are streamed: every node keeps them scaled down to this shorter side (256, say),
    which is some five times as quick to read and makes small training crops coarser; models record that they saw it.
    """

    short_side_cache: Positive | None = None
    sizes: Sizes = Sizes()
    mislabel: Mislabel | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _known(self) -> "Data":
        self.check("data")
        if self.short_side_cache is not None and (self.view is None or self.short_side_cache < self.view.size):
            with about("data", "short_side_cache"):
                raise UserError("short_side_cache needs data.view, of no more pixels than it has")
        return self


class Downstream(Images):
    """Images with labels of their own that no model is trained on; `limit` draws that many, always the same."""

    limit: Positive | None = None


def refuse_unknown(
    at: tuple[str, ...],
    kind: str,
    given: Iterable[str],
    function: Callable[..., Any],
    internal: Collection[str] = (),
) -> None:
    """Refuse options that are not keyword arguments of the function."""
    parameters = inspect.signature(function).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in internal]
    for option in given:
        if option not in allowed:
            with about(*at, option):
                raise unknown(kind, option, allowed)
