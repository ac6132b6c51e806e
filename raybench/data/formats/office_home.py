"""Office-Home: 15,500 images of 65 kinds of everyday objects in four domains, used to measure transfer of features.

Layout: <domain>/<class>/. Official splits: none. Groups: none. License: non-commercial research. Reference:
Venkateswara et al. 2017, arXiv 1706.07522.
"""

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
    public=True,
)
def office_home(root: Path, *, download: bool = False, domain: str | None = None) -> ImageData:
    """Read one `domain`, or all four in order: class id = position among the sorted class folders.

    All images are in the training split. Domains may be written with a space, an underscore or neither, in any case.
    Raises UserError for an unknown or missing domain and for classes that differ between domains.
    """
    if (root / ARCHIVE).is_dir():
        root = root / ARCHIVE
    selected = [official_name(domain)] if domain is not None else list(DOMAINS)
    folder_of = {plain(name): name for name in scan(root)[0]}
    if missing := [name for name in selected if plain(name) not in folder_of]:
        raise UserError(f"office_home: {str(root)!r} lacks {', '.join(missing)} (expected: {', '.join(DOMAINS)})")
    folders = [folder_of[plain(name)] for name in selected]
    classes = class_folders(root / folders[0])
    for other in folders[1:]:
        require_equal(root / folders[0], classes, root / other, class_folders(root / other))
    return photographs(root, [(TRAIN, *images_of_classes(root, folder, classes)) for folder in folders], classes)


def official_name(domain: str) -> str:
    """Return a domain in its official spelling."""
    names = {plain(name): name for name in DOMAINS}
    if plain(domain) not in names:
        raise unknown("domain of office_home", domain, DOMAINS)
    return names[plain(domain)]


def plain(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(character for character in str(name).lower() if character.isalnum())
