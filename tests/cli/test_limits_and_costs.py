"""What a person sees of a usage limit and of the costs, and what they can do about it."""

from datetime import timedelta
from pathlib import Path

from sf_mcp.clock import utc_now
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import EndKind
from sf_mcp.service.used import UsageReport
from tests.cli.builders_project import Person, someone_with_a_plan
from tests.cli.builders_work import an_order, services_of

A_PROJECT_KEY = "feedfeedfeedfeed"
LIMIT = "You've hit your limit · resets later"


def a_session_ends_at_a_limit(person: Person, hours: float) -> None:
    with services_of(person) as services:
        services.workspace.use_account(SERVER, A_PROJECT_KEY)
        services.work.session_ended(
            SERVER,
            an_order(services).session.id,
            kind=EndKind.USAGE_LIMIT,
            detail=LIMIT,
            resets_at=(utc_now() + timedelta(hours=hours)).isoformat(),
        )


def test_status_and_why_say_until_when_why_and_what_to_do_and_resume_does_it(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    a_session_ends_at_a_limit(person, hours=31 * 24)
    gate = person.home / ".local/state/stoneforge/accounts" / f"{A_PROJECT_KEY}.json"
    assert gate.stat().st_mode & 0o777 == 0o600

    (parked,) = [line for line in person.ok("status").out.splitlines() if "parked" in line]
    assert f"UTC: a usage limit: {LIMIT}" in parked
    assert "at once, also in your other fleets: sf resume" in person.ok("status").out
    why = person.ok("why", "T1").out
    assert "T1 is ready, but the account is at rest until" in why
    assert "(in 30 d 23 h) because of a usage limit" in why
    assert "Next: nothing; the fleet goes on by itself (sf resume: at once)" in why

    assert person.ok("resume").out == "The fleet goes on.\n"
    assert "parked" not in person.ok("status").out
    assert "limit lifted" in person.ok("logs").out


def test_a_gate_of_garbage_is_a_note_in_status(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    a_session_ends_at_a_limit(person, hours=1)
    gate = person.home / ".local/state/stoneforge/accounts" / f"{A_PROJECT_KEY}.json"
    gate.write_text("\x1b[31m garbage")
    assert f"The account's gate {gate} cannot be read" in person.ok("status").out


def test_costs_are_listed_with_their_share_of_coordination(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "Add a parser")
    assert person.ok("cost").out == "Nothing was spent yet.\n"
    with services_of(person) as services:
        services.sessions.heard(
            SERVER,
            an_order(services).session.id,
            is_turn_active=True,
            last_line="",
            context_tokens=0,
            context_window=0,
            cost_usd=1.5,
            usage=[
                UsageReport(
                    day="2026-11-25",
                    input_tokens=1000,
                    cache_write_tokens=2000,
                    cache_read_tokens=16_000,
                    output_tokens=1000,
                    coordination_tokens=5000,
                    cost_usd=1.5,
                )
            ],
        )
    lines = person.ok("cost").out.splitlines()
    tokens = "1 1,000 16,000 2,000 1,000 ~25% $1.50+"
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "TASK TITLE SESSIONS INPUT CACHE READ CACHE WRITE OUTPUT COORDINATION COST",
        f"T1 Add a parser {tokens}",
        f"total {tokens}",
    ]
    assert "About 25 % of all tokens (an estimate) is coordination" in lines[4]
    assert "still running" in lines[5]
    assert "2026-11-25" in person.ok("cost", "--by", "day").out
    report = person.ok("cost", "--by", "role", "--plan", "P1", "--json").json
    assert (report["lines"][0]["key"], report["coordination_share"]) == ("worker", 0.25)
    assert "cost_usd" in report["estimates"]
    assert person.sf("cost", "--by", "colour").code == 2
    assert person.sf("cost", "--plan", "P9").code == 1
