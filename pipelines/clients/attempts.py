"""The failed attempts at one request."""

from dataclasses import dataclass

from pipelines.clients.completions import Retry
from pipelines.clients.requests import Reply


@dataclass(slots=True)
class Attempts:
    """The failures of one request."""

    answers: int  # of the endpoint, at the request's last failure or start
    last_failure: float
    first_failure: float = 0.0
    tries: int = 0  # in this round
    second: bool = False  # second round: in the first the endpoint may have been down until its end
    own: int = 0  # failures while others were answered
    refusals: int = 0  # 429 while others were answered
    why: str = ""

    def add(self, outcome: Retry, answers: int, now: float) -> None:
        """Record a failure."""
        if answers > self.answers:
            self.refusals += outcome.busy
            self.own += outcome.counts
        self.tries += outcome.counts
        self.why, self.answers, self.last_failure = outcome.why, answers, now
        self.first_failure = self.first_failure or now

    def given_up(self) -> Reply:
        """The final reply; without the number of attempts, which would differ between equal runs."""
        return Reply(None, error=f"{self.why}, after repeated attempts")
