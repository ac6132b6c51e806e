"""Images in the experiment file: the section `data`, and the sets under `evaluate.downstream`.

Every other section is in `schema.py`. The description of a field is what `docs/experiment.md` and the JSON schema show.
"""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from raybench import limits, registry
from raybench.data.images import DatasetSpec
from raybench.data.role_sizes import OF_ONE_POOL, OF_SPLITS
from raybench.data.transforms.views import View
from raybench.errors import UserError, attach_key, unknown


def _check_size(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not (value is None or is_count or (isinstance(value, float) and 0 < value < 1)):
        raise ValueError(
            "must be a number of samples, a fraction between 0 and 1, or null for the rest of the official split"
        )
    return value


SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "null"},
    ]
}
Size = Annotated[int | float | None, BeforeValidator(_check_size), WithJsonSchema(SIZE_SCHEMA)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=limits.COUNT)]
Pixels = Annotated[int, Field(ge=1, le=limits.IMAGE_SIZE)]
Seed = Annotated[int, Field(ge=0, le=limits.SEED)]


class Section(BaseModel):
    """A section of the experiment file: immutable, all numbers finite, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mislabel(Section):
    """Wrong labels, added on purpose: only a model that memorized such a sample predicts its label."""

    fraction: Fraction = Field(
        description="Fraction of all samples that get a wrong label, drawn uniformly from the other classes. Every "
        "role gets the same fraction. Single-label data only."
    )
    seed: Seed = Field(default=0, description="Seed that draws the samples and their labels.")


class Sizes(Section):
    """Number of samples of each role: a count, a fraction of its official split, or null for the rest of the split.

    Training and validation samples come from the official training split, calibration and test samples from the test
    split, unseen samples from an `unseen` split if the data set has one and from the test split otherwise. A data set
    without official splits is one pool for all roles; unless `train` or `test` is set, it is divided into 50 % for
    `train`, 10 % for `validation`, 10 % for `calibration`, 15 % for `unseen`, and the rest for `test`.
    """

    train: Size = Field(
        default=OF_SPLITS["train"],
        description="Samples that the original is trained on; the forget set is drawn from them.",
    )
    validation: Size = Field(
        default=OF_SPLITS["validation"],
        description="Held-out samples that the sweep chooses hyperparameters on. No reported metric uses them.",
    )
    calibration: Size = Field(
        default=OF_SPLITS["calibration"], description="Samples that the conformal metrics are calibrated on."
    )
    test: Size = Field(default=OF_SPLITS["test"], description="Samples of the reported test metrics.")
    unseen: Size = Field(
        default=OF_SPLITS["unseen"],
        description="Samples that membership inference compares with the forget samples. Draw them from the same "
        "distribution as the forget set, or the attack detects the shift instead.",
    )

    def of(self, *, one_pool: bool) -> dict[str, float | int | None]:
        """Return the sizes of the roles; `one_pool`: the data set has no official splits."""
        sizes: dict[str, float | int | None] = self.model_dump()
        if not one_pool or self.model_fields_set & {"train", "test"}:
            return sizes
        return {role: sizes[role] if role in self.model_fields_set else OF_ONE_POOL[role] for role in sizes}


class Normalize(Section):
    """Mean and standard deviation per channel of pixels / 255, instead of the statistics of the data set."""

    mean: list[float] = Field(description="One mean per channel, on the scale 0 to 1.")
    std: list[Annotated[float, Field(gt=0)]] = Field(description="One standard deviation per channel, above 0.")


class Images(Section):
    """A data set, and how its images become the input of a model."""

    dataset: str = Field(
        description="Format of the data set.",
        json_schema_extra={"names": "datasets"},
    )
    root: str | None = Field(
        default=None,
        description="Folder or file of the data set. A relative path is looked up next to the experiment file, then in "
        "the current folder. Formats that need no files ignore it.",
    )
    download: bool = Field(
        default=False, description="Download the data set into `root` if it is missing and the format can download it."
    )
    options: dict[str, Any] = Field(
        default={}, description="Options of the format, listed by `raybench list datasets`."
    )
    resize: Pixels | None = Field(
        default=None,
        description="Image size in pixels to which images of one fixed size are scaled, for example 8 x 8 digits to "
        "32. Files of any size take `view` instead.",
    )
    view: View | None = Field(
        default=None,
        description="Square that the model reads from an image file of any size. Required for such data sets, not "
        "allowed for others.",
    )
    stream: Literal["auto"] | bool = Field(
        default="auto",
        description="Decode image files again in every pass (`true`) or once into memory (`false`). `auto` streams "
        "data sets whose decoded pixels take more than 8 GB.",
    )
    on_corrupt: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="What to do with an image that cannot be decoded: stop with the list of such files, or leave them "
        "out and report how many.",
    )
    deduplicate: Literal["none", "perceptual_hash"] = Field(
        default="none",
        description="`perceptual_hash` keeps one image of those with equal hashes. Use it if near-duplicates could lie "
        "in two roles, because a duplicate in the retain set keeps a forgotten image in training.",
    )
    normalize: Literal["dataset", "none"] | Normalize = Field(
        default="dataset",
        description="Input normalization: statistics of the data set, none, or your own mean and std. A checkpoint of "
        "yours needs the values it was trained with.",
    )

    def check(self, *key: str) -> None:
        """Raise UserError for an unknown data set or option; `key` is the key of this section."""
        with attach_key(*key, "dataset"):
            function = registry.find("dataset", self.dataset, "raybench.data.formats", DatasetSpec)
        check_options((*key, "options"), f"option of dataset {self.dataset}:", self.options, function, {"download"})


class Data(Images):
    """The images that models are trained on, and how they are split into roles."""

    short_side_cache: Pixels | None = Field(
        default=None,
        description="For streamed images: every node caches them scaled to this shorter side in pixels, for example "
        "256. Reading is about five times faster; small training crops become coarser, so models record the setting.",
    )
    sizes: Sizes = Field(
        default=Sizes(),
        description="Number of samples of each role. Data without official splits are one pool; unless `train` or "
        "`test` is set, half of it is `train`, 0.1 `validation`, 0.1 `calibration`, 0.15 `unseen`, the rest `test`.",
    )
    mislabel: Mislabel | None = Field(
        default=None,
        description="Wrong labels on purpose. Use it on small, easy data, where models otherwise memorize too little "
        "for any metric to detect.",
    )
    seed: Seed = Field(default=0, description="Seed that draws the roles and the forget set.")

    @model_validator(mode="after")
    def _check_data(self) -> "Data":
        self.check("data")
        if self.short_side_cache is not None and (self.view is None or self.short_side_cache < self.view.size):
            with attach_key("data", "short_side_cache"):
                raise UserError(
                    f"short_side_cache = {self.short_side_cache}: needs data.view with a size of at most as many pixels"
                )
        return self


class Downstream(Images):
    """A labeled data set that no model is trained on, used to measure how well the features transfer."""

    limit: Positive | None = Field(
        default=None,
        description="Number of images to draw, the same ones in every run. null takes all of them.",
    )


def check_options(
    key: tuple[str, ...],
    kind: str,
    options: Iterable[str],
    function: Callable[..., Any],
    internal: Collection[str] = (),
) -> None:
    """Raise UserError for options that are not keyword arguments of the function; `internal` ones are not allowed."""
    parameters = inspect.signature(function).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in internal]
    for option in options:
        if option not in allowed:
            with attach_key(*key, option):
                raise unknown(kind, option, allowed)
