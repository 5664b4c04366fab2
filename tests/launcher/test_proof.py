"""Sessions start one at a time until the model has answered one of them."""

from launcher.core.proof import PROOF_SECONDS, START_SECONDS, Proof


def test_the_first_may_start_and_the_second_waits_for_its_answer() -> None:
    proof = Proof()
    assert proof.seconds_to_wait({}, 0.0) == 0
    proof.started("one", 0.0)
    assert proof.seconds_to_wait({"one": 0}, 0.5) == START_SECONDS - 0.5
    assert proof.connected("one", 1.0)
    assert not proof.connected("one", 1.2)
    assert proof.seconds_to_wait({"one": 0}, 1.0) == PROOF_SECONDS
    proof.look({"one": 1_200})
    assert proof.seconds_to_wait({"one": 1_200}, 1.5) == 0
    proof.started("two", 1.5)
    assert proof.seconds_to_wait({"one": 1_200, "two": 0}, 1.6) == 0


def test_one_that_neither_answers_nor_ends_holds_the_others_up_for_a_while_alone() -> None:
    proof = Proof()
    proof.started("one", 0.0)
    assert proof.connected("one", 0.0)
    assert proof.seconds_to_wait({"one": 0}, PROOF_SECONDS) == 0
    proof.started("two", PROOF_SECONDS)
    assert not proof.connected("one", PROOF_SECONDS)
    assert proof.seconds_to_wait({"one": 0, "two": 0}, PROOF_SECONDS) == START_SECONDS


def test_one_that_has_ended_holds_nobody_up() -> None:
    proof = Proof()
    proof.started("one", 0.0)
    assert proof.seconds_to_wait({}, 0.5) == 0


def test_after_a_refusal_old_answers_prove_nothing_and_a_new_one_does() -> None:
    proof = Proof()
    proof.started("one", 0.0)
    proof.look({"one": 1_200})
    proof.lose({"one": 1_200})
    proof.started("two", 9.0)
    proof.look({"one": 1_200, "two": 0})
    assert proof.seconds_to_wait({"one": 1_200, "two": 0}, 9.0) == START_SECONDS
    proof.look({"one": 1_300, "two": 0})
    assert proof.seconds_to_wait({"one": 1_300, "two": 0}, 9.5) == 0
