"""The prose and the examples of docs/experiment.md; the tables come from the descriptions of fields."""

from raybench import limits

INTRODUCTION = (
    "An experiment is one YAML file. It decides everything that changes a number, so a run can be repeated from the "
    "file alone. `raybench check FILE` validates it and prints the plan without running anything; `raybench run FILE` "
    "runs it.",
    "Only `name`, `data`, `forget`, `model` and `methods` are required. This file is complete:",
)
MINIMAL = """\
name: first
data: {dataset: digits}
forget: {rule: random, fraction: 0.1}
model: {name: cnn}
methods:
  finetune: {lr: {loguniform: [1.0e-3, 0.1]}}
"""
EDITORS = """\
## Completion in editors

[experiment.schema.json](experiment.schema.json) is the JSON schema of this file. With it, an editor completes keys and
names, shows these descriptions, and marks mistakes while you type. Name it in the first line of a file; a relative path
is relative to the file (VS Code needs the YAML extension by Red Hat, other editors `yaml-language-server`):

```yaml
# yaml-language-server: $schema=../docs/experiment.schema.json
```

Without a checkout of raybench, write the schema of the installed version next to your files:

```bash
python -m raybench.docgen.json_schema > experiment.schema.json
```

The schema is an aid: `raybench check` checks more, for example whether values are valid together."""
RULES = """\
## How a file is read

**Mistakes.** An unknown key is an error. A message names file, line and key, what is allowed, and the nearest valid
name. All mistakes within sections are reported at once.

**Values.** `1e-3` and `1.0e-3` are the same number. `null` is "none". A method with nothing after its colon takes its
defaults.

**Paths.** A relative path (`data.root`, `model.checkpoint`, `model.init`, `forget.file`, lists of `checkpoints`, the
`root` of a downstream set) is looked up next to the file that names it, then in the current folder.

**Your own code.** A data set, forget rule, model, method or metric can be your own function, named
`package.module.function`. Its module is looked up among the installed ones, on `PYTHONPATH`, and last in the current
folder; a file there never replaces an installed module."""
LIMITS = f"""\
## Limits

No file may hang a run or exhaust the memory. What lies beyond a limit is refused with the limit and the place.

| what | limit |
| --- | --- |
| an experiment file | {limits.FILE_BYTES:,} bytes, {limits.VALUES:,} values, aliases expanded, {limits.DEPTH} levels |
| files that extend each other | {limits.FILES} |
| whole numbers | {limits.DIGITS} digits; `1:30` and `2024-01-01` are texts |
| other numbers | finite |
| texts | no control characters |
| names of runs, entries of `methods`, downstream sets | {limits.NAME} characters; see `name` |
| seeds | 0 to {limits.SEED:,} |
| settings of a method (`sweep.trials`) | {limits.TRIALS:,} |
| values of a `choice` | {limits.CHOICES:,} |
| retrained models, runs of a population, final runs of a method | {limits.MODELS:,} each |
| `evaluate.alphas` | {limits.ALPHAS}, distinct |
| side of what a model reads (`data.resize`, `data.view`) | {limits.IMAGE_SIZE:,} pixels |
| an image file | {limits.IMAGE_BYTES // 2**20} MiB; decoded {limits.IMAGE_PIXELS:,} pixels |
| the sides of an image file | one at most {limits.IMAGE_RATIO} times the other |
| formats of image files | BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF, WebP |
| a list, CSV, idx file or pickle | {limits.TEXT_BYTES:,} bytes |
| a checkpoint | {limits.CHECKPOINT_BYTES // 2**30} GiB; dense tensors of finite real numbers, by name |
| waiting for a cluster to add nodes | 10 minutes, then the run ends with what is missing |"""
EXTENDS = """\
## extends

`extends: PATH` merges this file over another one, key by key; the path is relative to this file. The other file may
extend a third one, and needs no `name` if it only serves as a base.

- `null` removes a mapping of the other file, such as a method or `data.mislabel`.
- A new `rule` or `dataset` drops the options of the old one.
- A search space replaces the old value as a whole; lists are replaced too.

```yaml
extends: quickstart.yaml
name: quickstart_class
forget: {rule: class, classes: [3]}
methods:
  gradient_ascent: null
```"""
SET = """\
## --set

`--set KEY=VALUE` overrides one key on the command line, with the same rules as `extends`. The value is YAML. Repeat the
option for several keys.

```bash
raybench run experiments/quickstart.yaml --set train.epochs=5 --set 'methods.scrub.lr={choice: [0.001, 0.01]}'
```"""
SPACES = """\
## Search spaces

Under `methods`, a value is fixed or a search space, from which the sweep draws `sweep.trials` settings:

| form | draws | for |
| --- | --- | --- |
| `{uniform: [low, high]}` | a number, uniformly | numbers |
| `{loguniform: [low, high]}` | a number, uniformly in its logarithm; `low` above 0 | learning rates, weights |
| `{randint: [low, high]}` | a whole number, both ends included | counts |
| `{choice: [a, b, ...]}` | one of the values | anything |

Every value that a space can give must be valid; both ends and all choices are checked before the run starts.

Every method is shipped with ranges that suit small and large data sets, because they are relative to the recipe of the
original (`train.lr`, `train.epochs`); [methods.md](methods.md) lists them. `search` takes them:

```yaml
methods:
  scrub: search                         # the shipped ranges
  neggrad_plus: {search: true, epochs: 5}  # the shipped ranges, but 5 epochs
  finetune:                             # the defaults
  all: search                           # every other built-in method, each with its shipped ranges
sweep: {trials: 8}
```

Without a search, the defaults follow the recipe too: a default rate is a factor of `train.lr`, and together with it
batch size, optimizer, momentum and weight decay are those of `train`. So describe the training of your model under
`train` even if the model comes from a checkpoint. Values that you write, and those of presets, are plain numbers, and
with a learning rate of your own the shared settings have their own defaults.

## Models of your own

An entry with `checkpoints` lists finished models instead of a method to run, and so does `train.retrained`. Nothing
else belongs into such an entry. [Audit checkpoints](audit-checkpoints.md) describes them.

```yaml
methods:
  theirs: {checkpoints: [seed0.pt, seed1.safetensors]}
  finetune:                             # runs here, and is compared with theirs
```"""
SMOKE = """\
## smoke

`raybench smoke FILE` merges this section over the file and runs the result in about a minute, on generated data in the
true format of the data set. Everything else ignores it. Its keys are those of the whole file, and `fixture`: options of
the generated data, by data set.

```yaml
smoke:
  fixture: {mufac: {images_per_class: 6}}
  data: {view: {size: 32}}
  train: {epochs: 2, retrained_seeds: 2}
  sweep: {trials: 1, seeds: 1}
```"""
EXAMPLES = {
    "data": """\
data:
  dataset: image_folder
  root: photos
  view: {size: 224, resize: 256}
  sizes: {train: null, validation: 0.1, calibration: 0.2, test: null, unseen: 0.4}
""",
    "forget": """\
forget: {rule: class, classes: [3]}
""",
    "model": """\
model: {name: resnet18, stem: cifar}
""",
    "train": """\
train:
  epochs: 30
  batch_size: 128
  lr: 0.1
  schedule: cosine
  augment: [crop, flip]
  retrained_seeds: 5
""",
    "methods": """\
methods:
  finetune: {lr: {loguniform: [1.0e-3, 0.1]}, epochs: {choice: [5, 10]}}
  scrub: {preset: mufac, epochs: 3}
  salun:                                      # defaults
  weak_scrub: {method: scrub, lr: 1.0e-5}     # a second entry of one method
""",
    "sweep": """\
sweep: {trials: 20, search: random, seeds: 5}
""",
    "evaluate": """\
evaluate:
  metrics: {accuracy: {}, mia: {}, cr: {}, knn: {k: 10}, downstream_knn: {}}
  alphas: [0.1, 0.2]
  downstream:
    numbers: {dataset: digits, resize: 32, limit: 500}
""",
    "resources": """\
resources: {device: cuda, precision: auto, gpus_per_trial: 0.25, gpus_per_model: 1}
""",
    "paper": """\
paper: {table: mufac_age, protocol: corrected}
""",
}
AFTER = {
    "sweep": "With `tuning_request: separate`, half of the retain set is for tuning and the other half is reported; "
    "the column `tuning` of the table `splits` says which sample is which. The rule decides how the second forget set "
    "is drawn: other whole classes for `class` and `superclass`, other whole identities for `identity` and "
    "`id_ranges`, else a random draw of the same size, stratified by class and by mislabeling. After a class was "
    "forgotten, the reported half therefore lacks the classes that the search forgot. All reported models train on the "
    "whole retain set. Nothing is set aside where no method has a search space. An error says to set "
    "`tuning_request: same` where no second forget set is left, for example when half of the training set is "
    "forgotten.",
    "forget": "Rules and their options: `raybench list rules`.",
    "data": "Formats and their options: `raybench list datasets`.",
    "model": "All names: `raybench list models`.",
    "methods": "Each key is a method of [methods.md](methods.md) or your own, and holds hyperparameters of that "
    "method, settings that [every method shares](methods.md#settings-that-every-method-shares), or one of these:",
}
ENTRY_KEYS = (
    (
        "`method`",
        "name of a method",
        "the key of the entry",
        "Function that runs, so that one method can have several entries.",
    ),
    (
        "`preset`",
        "name of a preset",
        "none",
        "Settings released with a paper, listed with the method; single values override it.",
    ),
)
