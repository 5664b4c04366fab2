"""Claims, expiries, renewals and submits in any order, on a clock that jumps both ways."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sf_mcp.core.errors import AlreadyClaimed, StaleLease
from sf_mcp.core.leases import check_token, end, grant, is_live, renew
from sf_mcp.core.models import EndKind, Lease, SessionId
from tests.core.builders_leases import is_expired, is_held

SUBJECTS = ("T1", "T2")
SESSIONS = tuple(SessionId(name) for name in ("ann", "bob", "cat"))
DURATION = timedelta(seconds=120)

subjects = st.sampled_from(SUBJECTS)
sessions = st.sampled_from(SESSIONS)
ends = st.sampled_from(EndKind)
jumps = st.integers(-400, 400).map(lambda seconds: timedelta(seconds=seconds))


class LeaseHistory(RuleBasedStateMachine):
    """Keeps every lease ever granted, as the store does, and every token as a session would."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.leases: dict[str, list[Lease]] = {subject: [] for subject in SUBJECTS}
        self.tokens: dict[str, list[tuple[SessionId, int]]] = {s: [] for s in SUBJECTS}

    def newest(self, subject: str) -> Lease | None:
        return self.leases[subject][-1] if self.leases[subject] else None

    @rule(jump=jumps)
    def the_clock_jumps(self, jump: timedelta) -> None:
        self.now += jump

    @rule(subject=subjects, session_id=sessions)
    def claim(self, subject: str, session_id: SessionId) -> None:
        newest = self.newest(subject)
        number = len(self.leases[subject]) + 1
        try:
            lease = grant(
                subject, session_id, number=number, newest=newest, now=self.now, duration=DURATION
            )
        except AlreadyClaimed:
            assert is_held(newest)
            assert not is_held(newest, session_id)
            return
        assert is_live(lease, self.now)
        if lease.number == number:
            assert not is_held(newest)
            self.leases[subject].append(lease)
            self.tokens[subject].append((session_id, lease.fence))
        else:
            assert is_held(newest, session_id)
            self.leases[subject][-1] = lease

    @rule(subject=subjects)
    def the_server_ends_what_has_expired(self, subject: str) -> None:
        newest = self.newest(subject)
        if newest is not None and is_expired(newest, self.now):
            self.leases[subject][-1] = end(newest, EndKind.LEASE_EXPIRED, now=self.now)

    @rule(subject=subjects, place=st.integers(0, 50))
    def a_session_renews(self, subject: str, place: int) -> None:
        """Any lease ever granted: a launcher that was away does not know which have ended."""
        if not self.leases[subject]:
            return
        place %= len(self.leases[subject])
        lease = self.leases[subject][place]
        try:
            renewed = renew(lease, now=self.now, duration=DURATION)
        except StaleLease:
            assert not is_held(lease)
            return
        assert is_live(renewed, self.now)
        assert renewed.expires_at >= lease.expires_at
        self.leases[subject][place] = renewed

    @rule(subject=subjects, place=st.integers(0, 50), kind=ends)
    def a_session_submits(self, subject: str, place: int, kind: EndKind) -> None:
        """With any token ever granted: only the newest, not ended, may write."""
        if not self.tokens[subject]:
            return
        session_id, fence = self.tokens[subject][place % len(self.tokens[subject])]
        newest = self.newest(subject)
        is_newest = (session_id, fence) == self.tokens[subject][-1]
        try:
            lease = check_token(newest, session_id, fence, subject)
        except StaleLease:
            assert not (is_newest and is_held(newest))
            return
        assert is_newest
        assert is_held(newest)
        self.leases[subject][-1] = end(lease, kind, now=self.now)

    @invariant()
    def no_subject_has_two_leases_that_are_held(self) -> None:
        for leases in self.leases.values():
            assert sum(is_held(lease) for lease in leases) <= 1
            assert not any(is_held(lease) for lease in leases[:-1])

    @invariant()
    def fencing_tokens_strictly_rise(self) -> None:
        for leases in self.leases.values():
            fences = [lease.fence for lease in leases]
            assert fences == sorted(set(fences))

    @invariant()
    def no_lease_ends_before_it_was_granted(self) -> None:
        for leases in self.leases.values():
            assert all(x.ended_at is None or x.ended_at >= x.granted_at for x in leases)


TestLeaseHistory = LeaseHistory.TestCase
TestLeaseHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
