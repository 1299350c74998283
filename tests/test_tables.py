"""Counting: Table 1 and its companions, from labels to rows."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.engine import Database
from db.records import FinalLabel, Label
from pipeline.published import load_published
from pipeline.study import Study, load_study
from pipeline.table import Cell, Share, Table
from pipeline.tables import fix_patterns, functions, group, reasons, root_causes, shares

STUDY = load_study()
BUG = Label(True, root_cause="IR", fix_pattern="add-epsilon", function="log")


def labels_of_the_paper() -> list[FinalLabel]:
    """Return 400 made-up threads whose causes and strata are counted as the paper prints them."""
    made: list[FinalLabel] = []
    for row in load_published("wang2022").table1:
        for stratum, count in row["counts"].items():
            for _ in range(count):
                number = len(made)
                label = Label(True, root_cause=row["cause"])
                made.append(FinalLabel(number, f"https://x.test/{number}", (stratum,), label, "agreed"))
    return made


def final(number: int, strata: tuple[str, ...], label: Label = BUG, how: str = "agreed") -> FinalLabel:
    """Return one final label of a made-up thread."""
    return FinalLabel(number, f"https://x.test/{number}", strata, label, how)


def table1(labels: list[FinalLabel]) -> Table:
    """Count Table 1 of the bundled study."""
    return root_causes(group(labels), STUDY)


def test_table_1_of_the_papers_counts_is_the_papers_table_1() -> None:
    """Labels counted as in the paper give its rows, columns, totals and proportions, to the digit."""
    table = table1(labels_of_the_paper())
    assert table.columns == ("Type", "Root Cause", "# TI", "# TP", "# PI", "# PP", "# Total", "Proportion(%)")
    printed = [tuple(map(str, row)) for row in table.rows[:2]]
    assert printed == [
        ("Code Relevant", "IR", "21", "29", "22", "21", "93", "50.82%"),
        ("Code Relevant", "APIM", "8", "8", "7", "12", "35", "19.13%"),
    ]
    shares_printed = [row.get("share") for row in load_published("wang2022").table1]
    computed = [cell.percent if isinstance(cell, Share) else None for cell in table.column("Proportion(%)")]
    assert [None if share is None else str(share) for share in computed] == shares_printed
    assert table.rows[-1] == ("Other", "", 3, 0, 1, 0, 4, None)


def test_a_cross_listed_thread_counts_once_a_stratum_and_the_distinct_count_stands_beside() -> None:
    """Two threads, one in TI and PI: a total of three, two distinct."""
    table = table1([final(1, ("TI", "PI")), final(2, ("TP",))])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["# TI"], row["# PI"], row["# TP"], row["# Total"], row["# Distinct"]) == (1, 1, 1, 3, 2)


def test_a_label_outside_every_stratum_has_a_column() -> None:
    """A labelled thread of another forum is counted, not lost."""
    table = table1([final(1, ()), final(2, ("elsewhere",)), final(3, ("TI",))])
    assert table.column("# Outside")[0] == 2
    assert table.column("# Total")[0] == 3


def test_a_cause_that_the_codebook_lacks_keeps_its_row() -> None:
    """A label under a code of an older codebook is shown as such."""
    table = table1([final(1, ("TI",), Label(True, root_cause="OLD"))])
    assert table.rows[-1][:2] == ("Not in the codebook", "OLD")


def test_simulated_labels_are_said_in_the_notes() -> None:
    """No table of simulated labels can be taken for one of people's."""
    simulated = FinalLabel(1, "https://x.test/1", ("TI",), BUG, "agreed", simulated=True)
    assert any("1 of 1 labels are by simulated annotators" in note for note in table1([simulated]).notes)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(), ("TI",), ("PI", "TI"), ("PP",)]),
            st.sampled_from([*STUDY.codebook.cause_codes, None]),
        )
    )
)
def test_every_cell_adds_up(made: list[tuple[tuple[str, ...], str | None]]) -> None:
    """Rows sum to their totals, totals to the listed threads, distinct counts to the valid threads."""
    labels = [
        final(number, strata, Label(True, root_cause=cause) if cause else Label(False, reason="not-a-bug"))
        for number, (strata, cause) in enumerate(made)
    ]
    table = table1(labels)
    counted = [
        name for name in table.columns if name.startswith("# ") and name not in ("# Total", "# Distinct")
    ]
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        assert sum(as_int(cells[name]) for name in counted) == cells["# Total"]
    valid = [label for label in labels if label.label.valid]
    assert sum(map(as_int, table.column("# Total"))) == sum(max(len(label.strata), 1) for label in valid)
    if "# Distinct" in table.columns:
        assert sum(map(as_int, table.column("# Distinct"))) == len(valid)


def as_int(cell: Cell) -> int:
    """Return a count cell as the number it is."""
    assert isinstance(cell, int)
    return cell


def test_fix_patterns_cover_each_cause_and_name_what_is_missing() -> None:
    """The patterns of a cause, an unexpected one and none labelled add up to the cause."""
    labels = [
        final(1, ("TI",)),
        final(2, ("TI",), Label(True, root_cause="IR", fix_pattern="other-fix")),
        final(3, ("TI",), Label(True, root_cause="IR")),
    ]
    table = fix_patterns(group(labels), STUDY)
    rows = {row[1]: row[table.columns.index("# Total")] for row in table.rows if row[0] == "IR"}
    assert rows == {"add-epsilon": 1, "clip-range": 0, "stable-formula": 0, "other-fix": 1, None: 1}


def test_the_shares_of_section_3_are_those_of_the_counts() -> None:
    """IR 23.25 %, GE 22.50 %, RE 12.00 %, code relevant 45.75 %: not the 55.65 % that the paper prints."""
    table = shares(group(labels_of_the_paper()), STUDY)
    printed = {row[0]: str(row[2]) for row in table.rows}
    assert printed["Code Relevant"] == "45.75%"
    assert (printed["IR"], printed["GE"], printed["RE"]) == ("23.25%", "22.50%", "12.00%")


def test_reasons_and_functions_are_counted() -> None:
    """A rejection counts under its reason, a noted function under its cause."""
    groups = group([final(1, ("TI",)), final(2, ("PP",), Label(False, reason="not-a-bug"))])
    assert [row[0] for row in reasons(groups, STUDY).rows if row[5]] == ["not-a-bug"]
    assert functions(groups, STUDY).rows == (("IR", "log", 1, 0, 0, 0, 1),)


def test_a_row_of_the_wrong_length_is_refused() -> None:
    """A table cannot hold a row that does not stand under its columns."""
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table("t", "T", ("a", "b"), (("x",),))


@pytest.mark.parametrize(
    ("count", "of", "printed"),
    [(93, 183, "50.82%"), (1, 800, "0.13%"), (0, 5, "0.00%"), (0, 0, "-"), (3, 3, "100.00%")],
)
def test_a_share_is_printed_as_in_the_paper(count: int, of: int, printed: str) -> None:
    """Two decimals, halves up, and a dash where there is nothing to divide by."""
    assert str(Share(count, of)) == printed


@pytest.mark.shared
def test_the_real_labels_add_up_to_their_own_counts(shared: Path, database: Database, study: Study) -> None:
    """Table 1 of the real labels holds all 77 valid threads with the counts that their index states."""
    from db.final_labels import final_labels, import_final_labels
    from db.threads import Thread
    from pipeline.imports import import_files

    rows = {row["url"]: row for row in csv.DictReader((shared / "labels" / "dev.csv").open())}
    chosen = Path("labelled.jsonl")
    with chosen.open("w") as file:
        for name in sorted((shared / "corpus").glob("*.gz")):
            with gzip.open(name, "rt") as lines:
                file.writelines(line for line in lines if json.loads(line)["url"] in rows)
    import_files(database, study, [chosen])
    with database.writing() as session:
        threads = {thread.url: thread for thread in session.query(Thread)}
        import_final_labels(
            session, [(threads[url], as_label(row)) for url, row in rows.items() if url in threads]
        )
    with database.reading() as session:
        labels = final_labels(session)
    table = table1(labels)
    causes = Counter(row["root_cause"] for row in rows.values() if row["valid"] == "true")
    column = "# Distinct" if "# Distinct" in table.columns else "# Total"
    counted = {row[1] or "Other": row[table.columns.index(column)] for row in table.rows}
    assert counted == {code: causes.get(code, 0) for code in STUDY.codebook.cause_codes}
    assert sum(causes.values()) == 77


def as_label(row: dict[str, str]) -> Label:
    """Return the label of a row of the real labels."""
    cells = (row[name] or None for name in ("reason", "root_cause", "fix_pattern", "function"))
    return Label(row["valid"] == "true", *cells)
