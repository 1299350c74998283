"""Make the pictures of the annotation screen from the running program: `screenshots.py DIR`.

The thread is made up here; nothing of a real database is shown.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from db.engine import Database, open_database
from db.threads import Post, Thread, ThreadStratum
from labeling.desk import at_desk
from labeling.people import add_annotator
from labeling.tui import AnnotationScreen
from pipeline.study import Study, load_study

BODY = """\
After some 200 steps the loss of our toy classifier becomes nan:

```python
p = tf.nn.softmax(logits)
loss = -tf.reduce_mean(tf.reduce_sum(y * tf.math.log(p), axis=1))
```

Printing `tf.reduce_min(p)` shows 0.0 just before it happens.
"""
REPLY = """\
`log(0)` is -inf and 0 * -inf is nan. Add a small constant, or let the library do both at once:

```python
loss = tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=logits)
```
"""
WIDE, SMALL = (110, 32), (80, 24)


def made_study() -> Study:
    """Return the bundled study without a pilot."""
    return replace(load_study(), labeling={"pilot_size": 0, "check_after": "any_time", "owned_strata": False})


def fill(database: Database, study: Study) -> None:
    """Store a made-up thread and three people."""
    with database.writing() as session:
        session.add_all([_thread(number) for number in range(1)])
    for handle, role in (("ada", "annotator"), ("bo", "annotator"), ("cy", "adjudicator")):
        with at_desk(database, study) as desk:
            add_annotator(desk, handle, role, simulated=True)


def _thread(number: int) -> Thread:
    posts = [
        Post(position=at, role=role, external_id=str(at), accepted=False, body=body, body_format="markdown")
        for at, (role, body) in enumerate((("opening", BODY), ("reply", REPLY)))
    ]
    return Thread(
        source="github", external_id=f"example/toy#{number}", kind="issue",
        title="Loss is NaN after 200 steps",
        url=f"https://github.com/example/toy/issues/{number}", tags=[], libraries=["tensorflow"],
        accepted=False, n_posts=2, candidate=True, content_sha256="", posts=posts,
        strata=[ThreadStratum(stratum="TI")],
    )  # fmt: skip


async def picture(
    database: Database, study: Study, handle: str, keys: str, size: tuple[int, int], file: Path | None
) -> None:
    """Press keys (separated by spaces) on a screen of one size, and save what it shows."""
    screen = AnnotationScreen(database, study, handle)
    async with screen.run_test(size=size) as pilot:
        await pilot.pause()
        for key in keys.split():
            await pilot.press(key)
        await pilot.pause()
        if file is not None:
            file.write_text(screen.export_screenshot(title="nanmine label tui"), encoding="utf-8")


def main(folder: Path) -> None:
    """Write label.svg, label-80x24.svg and adjudicate.svg into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    study = made_study()
    with tempfile.TemporaryDirectory() as scratch:
        database = open_database(f"sqlite:///{scratch}/study.db")
        fill(database, study)
        steps: list[tuple[str, str, tuple[int, int], str | None]] = [
            ("ada", "1 f slash l o g enter v", WIDE, "label.svg"),
            ("ada", "1 f", SMALL, "label-80x24.svg"),
            ("ada", "1 f m a d d space e p s enter enter", WIDE, None),
            ("bo", "2 f m n o space l o g i t s enter enter", WIDE, None),
            ("cy", "1 d", WIDE, "adjudicate.svg"),
        ]
        for handle, keys, size, name in steps:
            asyncio.run(picture(database, study, handle, keys, size, folder / name if name else None))
        database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
