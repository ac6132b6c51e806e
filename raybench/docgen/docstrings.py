"""What docstrings and signatures say: paragraphs, arguments, types."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

# meanings of hyperparameters that most methods share and their docstrings do not repeat
COMMON = {"lr": "learning rate", "epochs": "passes, as the method counts them"}


def docstring(documented: object) -> str:
    """Return a docstring without its indentation; empty if there is none."""
    return (inspect.getdoc(documented) or "").strip()


def summary(documented: object) -> str:
    """Return the first sentence of a docstring as a noun phrase: without its imperative "Return" or "Compute"."""
    paragraph = " ".join(docstring(documented).split("\n\n")[0].split())
    sentence = re.sub(r"^(Return|Compute) (the )?", "", re.split(r"(?<=\.)\s", paragraph)[0])
    return sentence[:1].upper() + sentence[1:]


def method_docstring(function: Callable[..., object]) -> tuple[list[str], dict[str, str]]:
    """Return a method's paragraphs, and the meaning of every argument under `Args:`."""
    body, _, arguments = docstring(function).partition("Args:\n")
    paragraphs = [" ".join(part.split()) for part in body.split("\n\n") if part.strip()]
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        for name in names.split(", "):
            meanings[name] = " ".join(meaning.split())
    return paragraphs, meanings


def meaning(key: str, fragment: Mapping[str, Any], documented: Mapping[str, str]) -> str:
    """Return what a hyperparameter means: its docstring entry, its field's description, or the common meaning."""
    return documented.get(key) or fragment.get("description") or COMMON.get(key, "")


def parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters of a function."""
    return list(inspect.signature(function).parameters.values())


def required_arguments(function: Callable[..., object]) -> str:
    """Return the arguments without a default."""
    return ", ".join(f"`{p.name}`" for p in parameters(function) if p.default is inspect.Parameter.empty)


def return_type(function: Callable[..., object]) -> str:
    """Return the type that a function returns, with the names of its fields if it has any."""
    annotation = inspect.signature(function).return_annotation
    record = annotation if inspect.isclass(annotation) else (get_args(annotation) or (None,))[-1]
    names = ", ".join(getattr(record, "__annotations__", {}))
    return f"`{type_name(annotation)}`" + (f" ({names})" if names else "")


def type_name(annotation: object) -> str:
    """Return a type as source code without module names, with `or` for `|`, which would end a table cell."""
    text = re.sub(
        r"\b(raybench|typing|collections|numpy|torch)(\.\w+)*\.(?=\w)", "", inspect.formatannotation(annotation)
    )
    return text.replace(" | ", " or ")
