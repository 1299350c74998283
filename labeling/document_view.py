"""The pane of the annotation screen with the thread: drawn line by line, scrolled, folded."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from labeling.deciding import Span
from labeling.document import Document
from labeling.folding import folded

STYLES = {
    "head": Style(bold=True, color="cyan"),
    "prose": Style(),
    "code": Style(color="green"),
    "match": Style(bold=True, reverse=True, color="yellow"),
    "dim": Style(dim=True),
}
EVIDENCE = Style(underline=True, bold=True)


class DocumentView(ScrollView, can_focus=True):
    """The thread: lines that were rendered once, drawn as the view moves over them."""

    def __init__(self) -> None:
        super().__init__(id="document")
        self.document = self.whole = Document(())
        self.is_folded = True
        self.spans: list[Span] = []

    class Widened(Message):
        """The pane has another width, so its lines have to be wrapped anew."""

    def on_resize(self, event: events.Resize) -> None:
        """Ask for new lines where the width changed."""
        if self.document.lines:
            self.post_message(self.Widened())

    def show(self, document: Document, top: int = 0) -> None:
        """Show another document, from its first line or from `top`, with long code and logs folded or not."""
        self.whole, self.spans = document, []
        self.document = folded(document) if self.is_folded else document
        self.virtual_size = Size(1, len(self.document.lines))
        self.scroll_to(0, top, animate=False)
        self.refresh()

    def show_again(self, document: Document) -> None:
        """Show the same thread wrapped or folded otherwise, from the same place."""
        place = self.document.lines[self.top] if self.top < len(self.document.lines) else None
        spans = self.spans
        self.show(document)
        if place is not None and place.post is not None:
            self.go(self.document.line_of(place.post, place.start))
        self.spans = spans

    def toggle(self) -> None:
        """Show long code and logs whole, or folded again."""
        self.is_folded = not self.is_folded
        self.show_again(self.whole)

    def hides(self, words: str) -> bool:
        """Say whether some of these words stand in what is folded."""
        return len(self.document.hits(words)) < len(self.whole.hits(words))

    def jump(self, targets: Sequence[int], step: int, above: int = 0) -> bool:
        """Go to the next or the previous of some lines, leaving room above; say whether there was one."""
        here = self.top + above
        ahead = [line for line in targets if (line > here if step > 0 else line < here)]
        if ahead:
            self.go((ahead[0] if step > 0 else ahead[-1]) - above)
        return bool(ahead)

    def render_line(self, y: int) -> Strip:
        """Return one line of the view."""
        number = self.scroll_offset.y + y
        if number >= len(self.document.lines):
            return Strip.blank(self.size.width)
        line = self.document.lines[number]
        marked = any(
            span.position == line.post and span.start < line.end and line.start < span.end
            for span in self.spans
        )
        extra = EVIDENCE if marked else Style()
        strip = Strip([Segment(text, STYLES[style] + extra) for text, style in line.pieces])
        return strip.crop_extend(0, self.size.width, None)

    @property
    def top(self) -> int:
        """The number of the line at the top of the view."""
        return int(self.scroll_offset.y)

    def go(self, line: int) -> None:
        """Put a line at the top of the view."""
        self.scroll_to(0, max(line, 0), animate=False)
