"""Cells that a spreadsheet program shows and never runs as a formula."""

from __future__ import annotations

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(text: str) -> str:
    """Return the text of one CSV cell; one that could start a formula gets a single quote before it.

    A text that already starts with quotes before such a character gets one more, so that
    `original_cell` gives back exactly what went in.
    """
    return f"'{text}" if text.lstrip("'").startswith(DANGEROUS) else text


def original_cell(cell: str) -> str:
    """Return the text that `safe_cell` made the cell from."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(DANGEROUS) else cell
