"""DomainNet, in the cleaned lists of 126 classes that transfer is measured on, or in its authors' own of 345."""

from pathlib import Path

from raybench.data.files.folders import photographs, require_files
from raybench.data.formats.list_file import names_of_classes, read_list, require_unique
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.errors import UserError, unknown

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
FOLDERS = ("", "splits", "image_list")  # where lists lie, below root


@dataset(
    source="Peng et al. 2019, arXiv 1812.01754; the 126 classes: Saito et al. 2019, arXiv 1904.06487",
    needs="<domain>/<class>/ with the images and <domain>_list.txt, or <domain>_train.txt and <domain>_test.txt",
)
def domainnet126(root: Path, *, download: bool = False, domain: str = "real") -> ImageData:
    """Read one `domain` in the order of its list; class ids are those of the list.

    <domain>_list.txt makes one part; where there is none, <domain>_train.txt and <domain>_test.txt make two. Lists lie
    in root, splits/ or image_list/. Every line counts, the last one too, which some released code drops. Raises
    UserError for an unknown domain, missing lists, and missing images, which are counted.
    """
    if domain not in DOMAINS:
        raise unknown("domain of domainnet126", domain, DOMAINS)
    lists = find_lists(root, domain)
    parts = [(part, *read_list(path)) for part, path in lists]
    require_unique([name for _, names, _ in parts for name in names], listed_in=f"the lists of {domain}")
    for (_, path), (_, names, _) in zip(lists, parts):
        require_files(root, names, listed_in=str(path))
    return photographs(root, parts, names_of_classes(parts))


def find_lists(root: Path, domain: str) -> list[tuple[int, Path]]:
    """Return the lists of one domain with the part that each is."""
    for names in (((TRAIN, "list"),), ((TRAIN, "train"), (TEST, "test"))):
        for folder in FOLDERS:
            found = [(part, root / folder / f"{domain}_{name}.txt") for part, name in names]
            if all(path.is_file() for _, path in found):
                return found
    raise UserError(
        f"domainnet126: {str(root)!r} holds neither {domain}_list.txt nor {domain}_train.txt and {domain}_test.txt "
        f"(looked in it, {FOLDERS[1]}/ and {FOLDERS[2]}/)"
    )
