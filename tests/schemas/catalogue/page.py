"""A page as its reader gets it, for tests that look at one without a browser."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, and the text of each thing with an id. What is not well-formed fails here."""

    VOID = ("br", "hr", "img", "input", "meta", "wbr")
    INLINE = ("a", "b", "bdi", "code", "kbd", "span", "strong", "wbr", "script", "style")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._open: list[tuple[str, str | None]] = []
        self._parts: dict[str, list[str]] = {}
        """The pieces of text of each element with an id."""
        self.feed(text)
        self.close()
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        identity = attributes.get("id")
        if identity is not None:
            assert identity not in self._parts, f"the id {identity} is there twice"
            self._parts[identity] = []
        if tag not in self.VOID:
            self._open.append((tag, identity))
        self._apart(tag)

    def handle_endtag(self, tag: str) -> None:
        self._apart(tag)
        assert self._open.pop()[0] == tag

    def _apart(self, tag: str) -> None:
        if tag not in self.INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for _, identity in self._open:
            if identity is not None:
                self._parts[identity].append(data)
        if self._open and self._open[-1][0] in ("script", "style"):
            (self.scripts if self._open[-1][0] == "script" else self.styles).append(data)

    def text_of(self, identity: str) -> str:
        """All text in an element, on one line; what stands in blocks of its own is apart."""
        return re.sub(r"\s+", " ", "".join(self._parts[identity])).strip()

    @property
    def ids(self) -> set[str]:
        return set(self._parts)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}
