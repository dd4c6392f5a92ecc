"""The circuit breaker: whatever the answers, it asks seldom while nobody answers, and no more seldom than promised."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.breaker import Breaker

FIRST, LONGEST = 5.0, 60.0


@given(st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), max_size=60), st.integers(0, 5))
def test_any_outage(questions: list[tuple[float, bool]], seed: int) -> None:
    """Each question comes some time after the last one, and would be answered or not."""
    breaker = Breaker(FIRST, LONGEST, seed=seed)
    now, last, failures = 0.0, 0.0, 0
    for gap, answered in questions:
        now += gap
        asked = breaker.lets_through(now)
        if not failures:
            assert asked, "while it is closed everybody asks"
        else:
            assert asked or now - last <= LONGEST, "nobody is kept waiting longer than the cap"
            assert not asked or now - last >= 0.5 * min(FIRST * 2 ** (failures - 1), LONGEST)
        if asked:
            news = breaker.succeeded() if answered else breaker.failed(now, f"failure {failures}")
            assert news == (answered == bool(failures)), "told when it changes, and only then"
            failures, last = (0, now) if answered else (failures + 1, now)
        assert (breaker.reason is None) == (failures == 0)
        assert breaker.reason in (None, "failure 0"), "one outage, one reason"
        assert breaker.pause(now) <= LONGEST


def test_only_one_question_is_under_way_and_one_that_is_lost_does_not_stop_the_next() -> None:
    breaker = Breaker(FIRST, LONGEST, patience=15)
    breaker.failed(0, "down")
    assert [breaker.lets_through(5), breaker.lets_through(6), breaker.lets_through(19.9)] == [True, False, False]
    assert breaker.lets_through(20)


def test_questions_that_fail_together_count_as_one() -> None:
    breaker = Breaker(FIRST, LONGEST)
    for _ in range(50):
        breaker.failed(0, "down")
    assert breaker.pause(0) <= FIRST
