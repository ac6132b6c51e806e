"""A parser that refuses pages that are not well-formed."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "wbr", "path", "use"}


class Page(HTMLParser):
    """Raise on elements that are not closed in order; collect ids, headings, references and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "xlink:href", "action", "data"):
                self.references.append(value)
            elif name in ("clip-path", "style"):
                self.references += re.findall(r"url\(([^)]+)\)", value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
