"""Drive a source over its frontier: fetch a page, commit it, go on, until nothing is pending."""

from __future__ import annotations
