"""Lists of classes to forget: the twelve of UUEF (ImageNet class ids, arXiv 2503.06991), and files of one's own.

The shipped files are as published, order and repeated ids included: top200_officehome_real names 199 classes,
top300_officehome_real 299. The random lists are not nested, nor are the top300 lists of CUB and Office-Home in order.
"""

from pathlib import Path

from raybench.errors import UserError, unknown

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """List the shipped lists, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def shipped(name: str) -> Path:
    """Return the file of the shipped list called `name`."""
    if name not in names():
        raise unknown("class list", name, names(), hint="; for a list of your own give `file`")
    return FOLDER / f"{name}.txt"


def read(path: Path, class_names: tuple[str, ...]) -> list[int | str]:
    """Read one class per line, in order, repeated ones kept: a whole number is a class id, anything else a name.

    Blank lines and Windows line ends are tolerated. Raises UserError for a file that is missing, empty or not text, and
    for a number that is the name of a class other than the one with that id.
    """
    if not path.is_file():
        raise UserError(f"no file {str(path)!r} (it should hold one class id or name per line)")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file: {error}") from error
    found = [entry(line.strip(), class_names, str(path)) for line in lines if line.strip()]
    if not found:
        raise UserError(f"{path}: lists no class (expected one class id or name per line)")
    return found


def entry(text: str, class_names: tuple[str, ...], where: str) -> int | str:
    """Return the class id or name that `text` from a file stands for."""
    if not text.isdecimal():
        return text
    if text in class_names and class_names.index(text) != int(text):
        raise UserError(
            f"{where}: {text!r} is both a class id and the name of class {class_names.index(text)}; list the classes "
            "under `classes`, where 1 is an id and '1' a name"
        )
    return int(text)
