"""CIFAR-100: 60,000 color images of 32 x 32 pixels in 100 classes, or in the 20 superclasses (CIFAR-20) that group
them.

Layout: the official pickles, train and test. Official splits: training, test. Groups: none. License: none stated.
Reference: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
"""

from pathlib import Path
from typing import Literal

from raybench.data.files.cifar_pickle import Std, read
from raybench.data.images import ImageData, dataset
from raybench.errors import unknown

FOLDER = "cifar-100-python"
FILES = ("train", "test")
SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
NAMES = {"fine": sorted(name for names in SUPERCLASSES.values() for name in names), "coarse": list(SUPERCLASSES)}
STDS = {"pixels": (0.2673, 0.2564, 0.2762), "per_image": (0.2009, 0.1984, 0.2023)}


@dataset(
    source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    needs=f"{FOLDER}/ (or is that folder) with {' and '.join(FILES)}",
)
def cifar100(
    root: Path, *, download: bool = False, labels: Literal["fine", "coarse"] = "fine", std: Std = "pixels"
) -> ImageData:
    """Read train, then test; with `download`, fetch the official archive first if `root` does not contain it.

    `labels: fine` are the 100 classes, `coarse` the 20 superclasses; both in alphabetical order, as in the file `meta`.
    `std: pixels` normalizes by the standard deviation of all training pixels (0.2673, ...); `per_image` by the mean
    over images of the standard deviation within each (0.2009, ...), as in some released code.
    """
    if labels not in NAMES:
        raise unknown("labels of cifar100", labels, NAMES)
    return read(
        "cifar100",
        root,
        FOLDER,
        FILES,
        FILES[-1:],
        label_key=f"{labels}_labels",
        class_names=NAMES[labels],
        mean=(0.5071, 0.4865, 0.4409),
        stds=STDS,
        std=std,
        download=download,
    )
