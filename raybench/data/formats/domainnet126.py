"""DomainNet: photographs and drawings of the same classes in six domains.

Layout: <domain>/<class>/ and list files, either the cleaned lists of 126 classes used to measure transfer or the
authors' lists of 345 classes. Official splits: training, test (with train and test lists). Groups: none. License:
non-commercial research. Reference: Peng et al. 2019, arXiv 1812.01754; 126 classes: Saito et al. 2019, arXiv
1904.06487.
"""

from pathlib import Path

from raybench.data.files.folders import photographs, require_files
from raybench.data.formats.list_file import names_of_classes, read_list, require_unique
from raybench.data.images import TEST, TRAIN, ImageData, dataset
from raybench.errors import UserError, unknown

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
FOLDERS = ("", "splits", "image_list")  # folders of the lists, below root


@dataset(
    source="Peng et al. 2019, arXiv 1812.01754; the 126 classes: Saito et al. 2019, arXiv 1904.06487",
    needs="<domain>/<class>/ with the images and <domain>_list.txt, or <domain>_train.txt and <domain>_test.txt",
)
def domainnet126(root: Path, *, download: bool = False, domain: str = "real") -> ImageData:
    """Read one `domain` in the order of its list; class ids are those of the list.

    <domain>_list.txt is the training split; if it does not exist, <domain>_train.txt and <domain>_test.txt are training
    and test split. Lists are in root, splits/ or image_list/. Every line counts, including the last one, which some
    released code drops. Raises UserError for an unknown domain, missing lists, and missing images.
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
    """Return the lists of one domain with their official split."""
    for names in (((TRAIN, "list"),), ((TRAIN, "train"), (TEST, "test"))):
        for folder in FOLDERS:
            lists = [(part, root / folder / f"{domain}_{name}.txt") for part, name in names]
            if all(path.is_file() for _, path in lists):
                return lists
    raise UserError(
        f"domainnet126: {str(root)!r} contains neither {domain}_list.txt nor {domain}_train.txt and {domain}_test.txt "
        f"(searched there, in {FOLDERS[1]}/ and in {FOLDERS[2]}/)"
    )
