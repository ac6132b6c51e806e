"""Limits of what raybench reads: no input may hang a run, exhaust the memory or fill the disk with names.

`docs/experiment.md` states them. A limit is far above every experiment that makes sense, and far below what a machine
can take.
"""

# the experiment file
FILE_BYTES = 1_000_000  # of each YAML file
FILES = 20  # that extend each other
VALUES = 50_000  # of a file, aliases expanded
DEPTH = 50  # of mappings and lists within each other
DIGITS = 18  # of a whole number: below 2**63
QUOTED = 200  # characters of a wrong value that a message repeats

# names and numbers in it
NAME = 100  # characters of a name that becomes part of a path
SEED = 2**31 - 1
COUNT = 10**9  # any other positive number
TRIALS = 10_000  # of one method
MODELS = 10_000  # retrained models, runs of a population, final runs of a method
ALPHAS = 100
CHOICES = 1_000  # values of one search space
IMAGE_SIZE = 4096  # pixels of a side of what a model reads
WIDTH = 1024  # channels of the first layer of `cnn`
THREADS = 1024
CLASSES = 100_000

# data sets and checkpoints
TEXT_BYTES = 1_000_000_000  # of a list, a CSV, a JSON file or a pickle of CIFAR
IMAGE_BYTES = 256 * 2**20  # of one encoded image
IMAGE_RATIO = 100  # of the longer to the shorter side
IMAGE_PIXELS = 64_000_000  # of one decoded image: 8,000 x 8,000, 192 MB
CHECKPOINT_BYTES = 32 * 2**30
