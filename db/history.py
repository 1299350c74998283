"""What the events of labeling amount to: a pure fold, the same whatever order they arrived in.

Nothing here reads a database. `db.label_fold` puts the events in order and `db.label_states` says
where each thread stands; here is decided which threads count, in which strata and within which quota.

A thread may be drawn because a model is uncertain of it (a draw of phase ACTIVE, for no
stratum). Its label then trains models and counts nowhere: such threads are not like the others.
Should the study's own seeded order draw the thread for a stratum, it is in the study sample with
full right, and its label counts however early it was given. That keeps every share unbiased: who
is in the sample is decided by the random order alone, which knows neither model nor label. An early
label counts only when that order has come to its thread: when every thread drawn before it is
labelled, and only if the quota was still open then (`out_of_turn`). So the threads that count are
those that would have counted had nobody ever drawn a thread actively.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from db.label_states import Outcome, States
from db.records import Event
from db.thread_history import ThreadHistory


class History(States):
    """The people, codebooks, proposals and threads of a study, their states, and which of them count."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._surplus: dict[str, frozenset[str]] = {}
        self._out_of_turn: dict[str, frozenset[str]] = {}
        super().__init__(events)

    def add(self, event: Event) -> None:
        """Take in one further event, which may change who counts in any stratum."""
        self._surplus.clear()
        self._out_of_turn.clear()
        super().add(event)

    @property
    def sample(self) -> list[ThreadHistory]:
        """The threads of the study: all but those that are left out."""
        return [thread for url, thread in self.threads.items() if not self.is_left_out(url)]

    def is_left_out(self, url: str) -> bool:
        """Say whether the thread counts nowhere: it was drawn actively, and its turn came in no stratum."""
        thread = self.threads[url]
        if not thread.was_drawn_actively or thread.is_imported:
            return False
        strata = {code for draw in thread.sample_draws for code in draw.payload["strata"]}
        return all(url in self.out_of_turn(stratum) for stratum in strata)

    def strata_of(self, url: str) -> tuple[str, ...]:
        """Return the strata the thread was drawn for and had room in when it was labelled, sorted."""
        thread, votes = self.threads[url], self.threads[url].votes.values()
        if thread.phase in ("pilot", "discussion") and not self.rules.pilot_counts:
            return ()
        if any(vote.root_cause in self.rules.uncounted_causes for vote in votes):
            return ()
        full = {code for event in (*votes, *thread.adjudications) for code in event.payload.get("full", ())}
        drawn = [code for draw in thread.draws for code in draw.payload["strata"] if code not in full]
        return tuple(drawn[:1]) if self.rules.cross_listed == "first" else tuple(sorted(set(drawn)))

    def counted_strata(self, url: str) -> tuple[str, ...]:
        """Return the strata the thread counts in: those where its turn came and the quota has a place."""
        return tuple(
            stratum
            for stratum in self.strata_of(url)
            if url not in self.surplus(stratum) | self.out_of_turn(stratum)
        )

    def surplus(self, stratum: str) -> frozenset[str]:
        """Return the settled valid threads beyond the quota of a stratum, by their place in the draw."""
        if stratum not in self._surplus:
            quota = self.rules.quotas.get(stratum)
            self._surplus[stratum] = frozenset(() if quota is None else self.valid_in(stratum)[quota:])
        return self._surplus[stratum]

    def out_of_turn(self, stratum: str) -> frozenset[str]:
        """Return the actively drawn threads of a stratum whose turn has not come, or came past its quota.

        The turn of a thread comes when every thread drawn before it has the labels that it waited for.
        """
        if stratum not in self._out_of_turn:
            early = self._take_turns(stratum) if self._has_active_draws else ()
            self._out_of_turn[stratum] = frozenset(early)
        return self._out_of_turn[stratum]

    def _take_turns(self, stratum: str) -> Iterator[str]:
        """Yield who is out of turn; what blind double labeling draws is labelled, whatever the quota."""
        is_faithful = self.rules.protocol == "faithful"
        quota = self.rules.quotas.get(stratum, math.inf) if is_faithful else math.inf
        taken, waiting = 0, False
        for url in self._drawn_for(stratum):
            if self.threads[url].was_drawn_actively and (waiting or taken >= quota):
                yield url
                continue
            waiting |= self.outcome(url).state in ("drawn", "single")
            taken += stratum in self.strata_of(url) and self._takes_place(url)

    def valid_in(self, stratum: str) -> list[str]:
        """Return the threads of a stratum that are settled as valid and had their turn, in drawing order."""
        early = self.out_of_turn(stratum)
        drawn = (url for url in self.drawn_in(stratum) if url not in early)
        return [url for url in drawn if _is_final_valid(self.outcome(url))]

    def drawn_in(self, stratum: str) -> list[str]:
        """Return the threads that can count in a stratum, the pilot first, then in drawing order."""
        return [url for url in self._drawn_for(stratum) if stratum in self.strata_of(url)]

    def _drawn_for(self, stratum: str) -> list[str]:
        places = []
        for thread in self.threads.values():
            draws = [draw for draw in thread.draws if stratum in draw.payload["strata"]]
            if draws:
                first = min((draw.phase != "pilot", draw.payload["position"]) for draw in draws)
                places.append((first, thread.url))
        return [url for _, url in sorted(places)]

    def spent(self, stratum: str, besides: str | None = None) -> int:
        """Return how many places of a stratum's quota are taken, imported labels and one thread apart.

        A valid label takes its place when it is given. Where discarded threads are not replaced,
        one that an adjudication discards or rejects keeps the place it took.
        """
        left_out = {besides, *self.out_of_turn(stratum)}
        return sum(self._takes_place(url) for url in self.drawn_in(stratum) if url not in left_out)

    def _takes_place(self, url: str) -> bool:
        votes = self.threads[url].votes.values()
        outcome = self.outcome(url)
        if outcome.state in ("discarded", "adjudicated") and self.rules.replace_discarded:
            return _is_final_valid(outcome)
        if self.rules.protocol == "faithful":
            return any(vote.verdict == "valid" for vote in votes) or _is_final_valid(outcome)
        return _is_final_valid(outcome)


def _is_final_valid(outcome: Outcome) -> bool:
    return outcome.how is not None and outcome.label is not None and outcome.label.valid
