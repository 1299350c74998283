"""The annotation screen: the thread on the left, the codebook on the right, keys below."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, Static

from db.engine import Database
from db.errors import NanmineError
from labeling.adjudicating import DIFFICULTIES
from labeling.deciding import Span
from labeling.document import Line, notice
from labeling.document_view import DocumentView
from labeling.tui_panels import codebook_panel, draft_line, help_text, progress_line
from labeling.tui_session import Work
from pipeline.study import Study
from pipeline.terminal import printable

NARROW = 60  # columns below which the codebook stands beside the thread only when asked for
ABOVE = 3  # lines shown above a keyword that was jumped to


class AnnotationScreen(App[None]):
    """One person's work, thread after thread. Selecting is not committing: Enter commits."""

    CSS = """
    #side { width: 34; border-left: solid $primary; padding: 0 1; }
    #document { width: 1fr; }
    #draft, #progress { height: 1; background: $panel; }
    #prompt { display: none; height: 3; }
    #prompt.open { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [
        ("j,down", "scroll(1)", "down"),
        ("k,up", "scroll(-1)", "up"),
        ("space,pagedown", "page(1)", "page down"),
        ("b,pageup", "page(-1)", "page up"),
        ("n", "post(1)", "next post"),
        ("N", "post(-1)", "previous post"),
        ("full_stop", "keyword(1)", "next keyword"),
        ("comma", "keyword(-1)", "previous keyword"),
        ("z", "fold", "fold code"),
        ("slash", "ask('find')", "find"),
        ("m", "ask('memo')", "memo"),
        ("o", "ask('function')", "function"),
        ("p", "ask('propose')", "propose"),
        ("x", "reason", "invalid"),
        ("question_mark", "unsure", "unsure"),
        ("f", "fix", "fix pattern"),
        ("v", "evidence", "evidence"),
        ("d", "difficulty", "difficulty"),
        ("D", "settle('discard')", "discard"),
        ("e", "settle('defer')", "defer"),
        ("c", "codebook", "codebook"),
        ("s", "reveal", "proposal"),
        ("a", "uncertain", "uncertain threads"),
        ("u", "undo", "undo"),
        ("enter", "commit", "commit"),
        ("h", "help", "keys"),
        ("q", "quit", "quit"),
    ]

    def __init__(self, database: Database, study: Study, handle: str) -> None:
        super().__init__()
        self.work = Work(database, study, handle)
        self.choosing_reason = False
        self.asked = ""
        self.found = ""
        self.found_line: int | None = None
        self.codebook_is_full = False

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        with Horizontal():
            yield DocumentView()
            with VerticalScroll(id="side", can_focus=False):
                yield Static(id="codebook", markup=False)
        yield Static(id="draft", markup=False)
        yield Static(id="progress", markup=False)
        yield Input(id="prompt")

    def on_mount(self) -> None:
        """Open the first thread once the size is known."""
        self.view.focus()
        self.call_after_refresh(self.open_next)

    @property
    def view(self) -> DocumentView:
        """The pane with the thread."""
        return self.query_one(DocumentView)

    def open_next(self) -> None:
        """Open the next task, or say why there is none."""
        self.found_line = None
        try:
            task = self.work.open_next(self.view.size.width - 2)
            self.view.show(task.document)
            self.say(f"{task.activity}{', uncertain threads' if self.work.uncertain else ''}")
        except NanmineError as error:
            self.work.task = None
            self.view.show(notice(str(error), self.view.size.width - 2))
            self.say(str(error))

    def on_resize(self, event: events.Resize) -> None:
        """Leave a narrow terminal to the thread, or to the codebook while `c` shows it."""
        self._lay_out(event.size.width)

    def _lay_out(self, width: int) -> None:
        side = self.query_one("#side")
        side.display = self.codebook_is_full or width >= NARROW
        self.view.display = not self.codebook_is_full or width >= NARROW
        side.styles.width = "1fr" if self.codebook_is_full else 34

    def on_document_view_widened(self) -> None:
        """Wrap the thread to the new width and stay at the same post's place."""
        self.view.show_again(self.work.rewrap(self.view.size.width - 2))
        self.view.spans = self.work.draft.spans

    def say(self, message: str = "") -> None:
        """Draw the panels again, with a message."""
        draft = self.work.draft
        self.query_one("#codebook", Static).update(
            codebook_panel(self.work, full=self.codebook_is_full, choosing_reason=self.choosing_reason)
        )
        self.query_one("#draft", Static).update(Text(printable(draft_line(draft, message)), no_wrap=True))
        self.query_one("#progress", Static).update(Text(progress_line(self.work), no_wrap=True))

    def on_key(self, event: events.Key) -> None:
        """Choose a cause by its digit, or a reason by its letter after `x`."""
        if self.asked or self.work.task is None:
            return
        book = self.work.study.codebook
        if self.choosing_reason:
            self.choosing_reason = False
            chosen = [reason.code for reason in book.reasons if reason.key == event.character]
            self.work.draft.reason = chosen[0] if chosen else None
            self.work.draft.cause = self.work.draft.fix = None
            event.prevent_default().stop()
            self.say()
        elif event.character and event.character in "1234567890":
            index = (int(event.character) - 1) % 10
            if index < len(book.causes):
                self.work.draft.cause, self.work.draft.reason = book.causes[index].code, None
                self.work.draft.fix = None
            self.say()

    def action_reason(self) -> None:
        """Wait for the letter of a reason."""
        self.choosing_reason = True
        self.say("not valid: which reason?")

    def action_fix(self) -> None:
        """Go to the next fix pattern of the chosen cause."""
        draft = self.work.draft
        if draft.cause is None:
            self.say("choose a cause first")
            return
        patterns = [None, *self.work.study.codebook.fix_patterns_of(draft.cause)]
        draft.fix = patterns[(patterns.index(draft.fix) + 1) % len(patterns)]
        self.say()

    def action_difficulty(self) -> None:
        """Go to the next source of disagreement."""
        choices = [None, *DIFFICULTIES]
        self.work.draft.difficulty = choices[(choices.index(self.work.draft.difficulty) + 1) % len(choices)]
        self.say()

    def action_evidence(self) -> None:
        """Mark what `/` found as evidence, or else the first line of a post in view."""
        lines = self.view.document.lines
        number = self.found_line
        if number is None:
            shown = range(self.view.top, min(self.view.top + self.view.size.height, len(lines)))
            number = next((line for line in shown if lines[line].end > lines[line].start), None)
        if number is not None and (post := lines[number].post) is not None:
            self.work.draft.spans.append(self._span(lines[number], post))
            self.view.spans = self.work.draft.spans
            self.view.refresh()
        self.say("" if number is not None else "no text of a post is in view")

    def _span(self, line: Line, post: int) -> Span:
        start = line.text.casefold().find(self.found.casefold()) if self.found_line is not None else -1
        if start < 0 or line.start + start + len(self.found) > line.end:
            return Span(post, line.start, line.end)
        return Span(post, line.start + start, line.start + start + len(self.found))

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines: the thread, or the codebook while it is shown whole."""
        if self.codebook_is_full:
            self.query_one("#side").scroll_relative(y=lines, animate=False)
        else:
            self.view.go(self.view.top + lines)

    def action_page(self, pages: int) -> None:
        """Scroll by half pages, which is little to send over a slow line."""
        self.action_scroll(pages * max(self.view.size.height // 2, 1))

    def action_post(self, step: int) -> None:
        """Go to the next or the previous post."""
        self.view.jump(self.view.document.post_lines, step)

    def action_keyword(self, step: int) -> None:
        """Go to the next or the previous line with a keyword."""
        is_there = self.view.jump(self.view.document.match_lines, step, above=ABOVE)
        self.say("" if is_there else "no keyword further on")

    def action_fold(self) -> None:
        """Show long code and logs whole, or folded again."""
        self.found_line = None
        self.view.toggle()

    def action_codebook(self) -> None:
        """Show the whole codebook, or the list again."""
        self.codebook_is_full = not self.codebook_is_full
        self._lay_out(self.size.width)
        self.say()

    def action_help(self) -> None:
        """Show the keys."""
        self.notify(help_text(), title="Keys", timeout=15, markup=False)

    def action_ask(self, what: str) -> None:
        """Ask for a line of text."""
        self.asked = what
        prompt = self.query_one("#prompt", Input)
        prompt.placeholder = {"propose": "name: definition of the new category"}.get(what, what)
        prompt.value = {"memo": self.work.draft.memo, "find": self.found}.get(what, "")
        prompt.add_class("open")
        prompt.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the line that was asked for."""
        asked, value = self._close_prompt(), event.value.strip()
        if asked == "memo":
            self.work.draft.memo = value
        elif asked == "function":
            self.work.draft.function = value or None
        elif asked == "find":
            self._find(value)
            return
        elif asked == "propose":
            name, _, definition = value.partition(":")
            self._try(lambda: self.work.propose(name.strip(), definition.strip()))
            return
        self.say()

    def key_escape(self) -> None:
        """Leave a prompt, or what is chosen."""
        if self.asked:
            self._close_prompt()
        self.choosing_reason = False
        self.say()

    def _close_prompt(self) -> str:
        asked, self.asked = self.asked, ""
        self.query_one("#prompt", Input).remove_class("open")
        self.view.focus()
        return asked

    def _find(self, words: str) -> None:
        self.found = words
        if words and self.view.hides(words):
            self.action_fold()
        after = self.view.top if self.found_line is None else self.found_line
        line = self.found_line = self.view.document.find(words, after) if words else None
        if line is not None:
            self.view.go(line)
        self.say("" if line is not None or not words else f"no {words!r}")

    def action_commit(self) -> None:
        """Commit what is chosen and go on."""
        if not self.asked:
            self._try(self.work.commit)

    def action_unsure(self) -> None:
        """Leave the thread to discussion and go on."""
        self._try(self.work.unsure)

    def action_settle(self, outcome: str) -> None:
        """Discard or defer a dispute."""
        if self.work.task is None or self.work.task.activity != "adjudicate":
            self.say("nothing is in dispute here")
        else:
            self._try(lambda: self.work.settle(outcome))

    def action_uncertain(self) -> None:
        """Turn to the threads of active draws, or back to the study sample."""
        self.work.uncertain = not self.work.uncertain
        self.open_next()

    def action_reveal(self) -> None:
        """Show the model's proposal where that is allowed."""
        try:
            self.say(self.work.reveal())
        except NanmineError as error:
            self.say(str(error))

    def action_undo(self) -> None:
        """Take back the last act and show its thread."""
        try:
            message = self.work.undo(self.view.size.width - 2)
        except NanmineError as error:
            message = str(error)
        if self.work.task is not None:
            self.view.show(self.work.task.document)
        self.say(message)

    def _try(self, act: Any) -> None:
        """Do an act and open the next thread; a refusal stays on the screen."""
        try:
            act()
        except NanmineError as error:
            self.say(str(error))
            return
        self.open_next()
