"""Office-Home: 65 kinds of everyday objects in four domains, for measuring how well features transfer."""

from pathlib import Path

from raybench.data.files.folders import class_folders, images_of_classes, photographs, scan
from raybench.data.formats.imagenet import require_equal
from raybench.data.images import TRAIN, ImageData, dataset
from raybench.errors import UserError, unknown

DOMAINS = ("Art", "Clipart", "Product", "Real World")
ARCHIVE = "OfficeHomeDataset_10072016"


@dataset(
    source="Venkateswara et al. 2017, arXiv 1706.07522",
    needs=f"{', '.join(f'{domain}/<class>/' for domain in DOMAINS)} (or {ARCHIVE}/ with them)",
)
def office_home(root: Path, *, download: bool = False, domain: str | None = None) -> ImageData:
    """Read one `domain`, or all four one after the other: class id = place among the sorted class folders.

    Everything is one part. Domains may be written with a space, an underscore or neither, in any case. Raises UserError
    for an unknown or missing domain and for classes that differ between domains.
    """
    if (root / ARCHIVE).is_dir():
        root = root / ARCHIVE
    wanted = [official_name(domain)] if domain is not None else list(DOMAINS)
    there = {plain(name): name for name in scan(root)[0]}
    if missing := [name for name in wanted if plain(name) not in there]:
        raise UserError(f"office_home: {str(root)!r} lacks {', '.join(missing)} (expected: {', '.join(DOMAINS)})")
    folders = [there[plain(name)] for name in wanted]
    classes = class_folders(root / folders[0])
    for other in folders[1:]:
        require_equal(root / folders[0], classes, root / other, class_folders(root / other))
    return photographs(root, [(TRAIN, *images_of_classes(root, folder, classes)) for folder in folders], classes)


def official_name(given: str) -> str:
    """Return a domain as its authors write it."""
    names = {plain(name): name for name in DOMAINS}
    if plain(given) not in names:
        raise unknown("domain of office_home", given, DOMAINS)
    return names[plain(given)]


def plain(name: str) -> str:
    return "".join(character for character in str(name).lower() if character.isalnum())
