"""The protocol of a study: every choice the paper leaves open is a key, with the paper-like default.

The keys are the `[labeling]` table of study.toml. A1 to A13 name the ambiguities of the paper's
description of its own labeling; the default is what the paper most plausibly did. A9, how many root
causes a thread may have, is no choice: it has one, as the paper's tables count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.errors import StudyError
from pipeline.study import Study

CHOICES = {
    "protocol": ("faithful", "blind_double"),
    "order": ("seeded", "oldest", "newest"),
    "cross_listed": ("each", "first"),
    "third_party": ("discussant", "tiebreaker"),
    "check_after": ("all_closed", "stratum_closed", "any_time"),
    "suggestions": ("off", "after_commit"),
    "primary_statistic": ("cohen_kappa", "krippendorff_alpha", "gwet_ac1"),
}


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a study labels.

    `faithful`: a joint pilot, one owner a stratum, a check of every valid label by somebody else, a
    third person where they differ. `blind_double`: two people label the same prefix of every stratum
    without seeing each other's labels, and an adjudicator settles the differences.
    """

    protocol: str = "faithful"
    seed: int = 0
    raters: int = 2
    pilot_size: int = 100
    pilot_stratified: bool = False  # A1: was the pilot drawn from each stratum alike?
    pilot_counts: bool = True  # A1: do the pilot's valid threads count towards the quotas?
    order: str = "seeded"  # A2: in what order were threads taken?
    check_invalid: bool = False  # A3: are rejections checked too?
    check_blind: bool = False  # A4: is the label kept from whoever checks it?
    primary_statistic: str = "cohen_kappa"  # A4: the one coefficient that is reported as the agreement
    owned_strata: bool = True  # A5: does each stratum belong to the people named for it?
    revisit_after_new_category: bool = False  # A6: is everything labelled before listed again?
    uncounted_causes: tuple[str, ...] = ()  # A7: causes that are valid but take no place in a quota
    replace_discarded: bool = False  # A8: is a discarded thread replaced by the next one?
    check_fix_pattern: bool = False  # A10: must fix patterns agree too?
    cross_listed: str = "each"  # A11: does a thread of several strata count in each, or in the first only?
    third_party: str = "discussant"  # A12: may the third person find a label that neither gave?
    state_difficulty: bool = False  # A13: must an adjudication say where the difference came from?
    check_after: str = "all_closed"
    anonymous_sides: bool = False
    batch: int = 20
    suggestions: str = "off"

    @property
    def is_blind(self) -> bool:
        """Whether people label without seeing each other's labels."""
        return self.protocol == "blind_double"

    def payload(self, study: Study) -> dict[str, Any]:
        """Return the keys and the study's quotas, as the setup event keeps them."""
        quotas = {stratum.code: stratum.quota for stratum in study.strata}
        return asdict(self) | {"uncounted_causes": list(self.uncounted_causes), "quotas": quotas}


STRICTER = {"protocol": "blind_double", "state_difficulty": True, "anonymous_sides": True}


def protocol_of(study: Study) -> Protocol:
    """Return the protocol of the study's [labeling] table; StudyError for a wrong key or value.

    Under `blind_double`, stating the difficulty and anonymous sides are on unless the table says no.
    """
    table: Mapping[str, Any] = study.labeling
    known = {field.name: field.type for field in fields(Protocol)}
    for key, value in table.items():
        if key not in known:
            raise StudyError(
                f"study {study.name}: unknown key {key!r} in [labeling]; known: {', '.join(known)}"
            )
        _check_value(study.name, key, value, str(known[key]))
    defaults = STRICTER if table.get("protocol") == "blind_double" else {}
    causes = tuple(table.get("uncounted_causes", ()))
    return Protocol(**{**defaults, **table, "uncounted_causes": causes})


def _check_value(study: str, key: str, value: Any, kind: str) -> None:
    where = f"study {study}: [labeling] {key} = {value!r}"
    if type(value).__name__ != ("list" if kind.startswith("tuple") else kind):
        raise StudyError(f"{where} is not of type {kind}")
    if key in CHOICES and value not in CHOICES[key]:
        raise StudyError(f"{where} is not one of {', '.join(CHOICES[key])}")
    least = {"raters": 2, "batch": 1, "pilot_size": 0}.get(key)
    if least is not None and value < least:
        raise StudyError(f"{where} is less than {least}")
