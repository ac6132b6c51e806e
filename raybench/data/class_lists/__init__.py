"""Lists of classes to forget: the twelve of UUEF (ImageNet class ids, arXiv 2503.06991), and user files.

The built-in files are as released, order and repeated ids included: top200_officehome_real names 199 classes,
top300_officehome_real 299. The random lists are not nested, nor are the top300 lists of CUB and Office-Home sorted.
"""

from pathlib import Path

from raybench.errors import UserError, unknown

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """List the built-in lists, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def built_in(name: str) -> Path:
    """Return the file of the built-in list `name`."""
    if name not in names():
        raise unknown("class list", name, names(), hint="; for your own list set `file`")
    return FOLDER / f"{name}.txt"


def read(path: Path, class_names: tuple[str, ...]) -> list[int | str]:
    """Read one class per line, in order, duplicates kept: a whole number is a class id, anything else a name.

    Blank lines and Windows line endings are allowed. Raises UserError for a file that is missing, empty or not text,
    and for a number that is also the name of another class.
    """
    if not path.is_file():
        raise UserError(f"no file {str(path)!r} (it should contain one class id or name per line)")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file: {error}") from error
    classes = [parse_class(line.strip(), class_names, str(path)) for line in lines if line.strip()]
    if not classes:
        raise UserError(f"{path}: lists no class (expected one class id or name per line)")
    return classes


def parse_class(text: str, class_names: tuple[str, ...], where: str) -> int | str:
    """Return the class id or name that `text` from a file denotes."""
    if not text.isdecimal():
        return text
    if text in class_names and class_names.index(text) != int(text):
        raise UserError(
            f"{where}: {text!r} is both a class id and the name of class {class_names.index(text)}; set option "
            "`classes` instead, where 1 is an id and '1' a name"
        )
    return int(text)
