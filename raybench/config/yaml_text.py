"""Parse the YAML of an experiment file: plain values only, within the limits of `raybench.limits`.

PyYAML follows YAML 1.1, where 1:30 is the number 90, 010 is 8, 1e-3 is a text and 2024-01-01 a date. Here numbers are
written as in YAML 1.2, and nothing is a date. An alias may repeat a value, but not hold itself or millions of values.
"""

import math
import re
from typing import Any

import yaml

from raybench import limits

INT = re.compile(r"^[-+]?[0-9][0-9_]*$|^0x[0-9a-fA-F]+$")
FLOAT = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
REPLACED = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp", "value"))
NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # control characters and half characters


class Invalid(yaml.MarkedYAMLError):
    """Raised for YAML that is well-formed but not allowed here."""

    def __init__(self, problem: str, node: yaml.Node | yaml.Event | None = None) -> None:
        super().__init__(problem=problem, problem_mark=None)
        if node is not None:
            self.problem_mark = node.start_mark  # type: ignore[assignment]


class Loader(yaml.SafeLoader):
    """Reads plain values; depth and number of values are limited while the text is read, before anything is built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > limits.DEPTH:
            raise Invalid(f"more than {limits.DEPTH} mappings and lists within each other", self.peek_event())  # type: ignore[no-untyped-call]
        if self._count > limits.VALUES:
            raise Invalid(f"more than {limits.VALUES:,} values", self.peek_event())  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        if len(text) > limits.DIGITS + 1:
            raise Invalid(f"a number of {len(text)} characters (allowed: {limits.DIGITS} digits)", node)
        return int(text, 16 if text.startswith("0x") else 10)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node)).replace("_", "").lower()
        value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(value):
            raise Invalid(f"{quote(str(node.value))} is not a finite number", node)
        return value


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PLAIN = ("null", "bool", "str", "seq", "map")
Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in PLAIN
}
Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_int)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_float)


def parse(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the content of a YAML text, and the node it was built from, which knows the lines.

    Raises yaml.YAMLError, whose mark is the line, for anything but null, booleans, finite numbers, texts without
    control characters, lists, and mappings with texts as keys, and for a text beyond the limits.
    """
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_aliases(node)
        content = loader.construct_document(node)
        _check(content, node)
    except (ValueError, TypeError, KeyError, OverflowError) as error:  # a tag that does not fit its value: !!float x
        raise Invalid(f"a value does not fit its tag: {quote(str(error))}") from error
    finally:
        loader.dispose()
    return content, Loader(text).get_single_node() if "<<" in text else node  # merging changes the nodes


def quote(text: str) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= limits.QUOTED else f"{text[: limits.QUOTED]}... ({len(text):,} characters)"


def _check_aliases(root: yaml.Node) -> None:
    """Raise Invalid for an alias within what it repeats, and for too many values once all aliases are expanded."""
    sizes: dict[int, int] = {}
    around: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in around:
            raise Invalid("an alias holds itself", node)
        if id(node) not in sizes:
            around.add(id(node))
            children = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
            sizes[id(node)] = 1 + sum(map(size, flat))
            around.remove(id(node))
        if sizes[id(node)] > limits.VALUES:
            raise Invalid(f"more than {limits.VALUES:,} values once its aliases are expanded", node)
        return sizes[id(node)]

    size(root)


def _check(value: Any, node: yaml.Node) -> None:
    """Raise Invalid, at the nearest line, for a value that no experiment may hold."""
    if isinstance(value, dict):
        nodes = {str(key.value): child for key, child in node.value} if isinstance(node, yaml.MappingNode) else {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Invalid(f"the key {quote(repr(key))} is not a text; put it in quotes", node)
            _check_text(key, node)
            _check(item, nodes.get(key, node))
    elif isinstance(value, list):
        nodes_of_items = node.value if isinstance(node, yaml.SequenceNode) else [node] * len(value)
        for item, child in zip(value, nodes_of_items):
            _check(item, child)
    elif isinstance(value, str):
        _check_text(value, node)


def _check_text(text: str, node: yaml.Node) -> None:
    if match := NOT_TEXT.search(text):
        raise Invalid(f"a text with the character {match.group()!a}, which no name or path may hold", node)
