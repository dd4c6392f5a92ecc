"""When to leave a server alone that does not answer: a circuit breaker that asks less and less often. No I/O; the clock
is passed in. The resolver has one for MLflow.

While it is open, one question at a time is let through, the longer the outage the more seldom; everybody else gets
the reason at once instead of waiting for the same time-out.
"""

import random


class Breaker:
    def __init__(
        self, first_pause: float = 5.0, longest_pause: float = 60.0, patience: float = 15.0, seed: int | None = None
    ) -> None:
        """Seconds. `patience` is the longest that one question takes to come back."""
        self._first_pause, self._longest_pause, self._patience = first_pause, longest_pause, patience
        self._random = random.Random(seed)
        self._failures = 0
        self._probing = False
        self._closed_until = 0.0
        self.reason: str | None = None
        """Why it is open: what the first failure said, for the whole outage. None while it is not."""

    def lets_through(self, now: float) -> bool:
        """Whether to ask. Who is let through while it is open says how that went, or is given up after `patience`."""
        if self.reason is None:
            return True
        if now < self._closed_until:
            return False
        self._probing, self._closed_until = True, now + self._patience
        return True

    def pause(self, now: float) -> float:
        """Seconds until it is worth asking again; 0 while the server answers."""
        return 0.0 if self.reason is None else max(0.0, self._closed_until - now)

    def failed(self, now: float, reason: str) -> bool:
        """No answer; says whether that is news. Of questions that were under way together only one counts."""
        news = self.reason is None
        if news or self._probing:
            self.reason = self.reason or reason
            pause = min(self._first_pause * 2.0 ** min(self._failures, 30), self._longest_pause)
            self._closed_until = now + pause * self._random.uniform(0.5, 1.0)
            self._failures += 1
            self._probing = False
        return news

    def succeeded(self) -> bool:
        """An answer, whatever it says; says whether that is news."""
        news = self.reason is not None
        self.reason, self._failures, self._probing = None, 0, False
        return news
