"""How long something takes, most often: as TCP expects a round trip (RFC 6298)."""

from dataclasses import dataclass
from math import sqrt

MEAN_GAIN, DEVIATION_GAIN = 1 / 8, 1 / 4
DEVIATIONS = 4


@dataclass(slots=True)
class Durations:
    """A moving mean in seconds, and how far durations are from it."""

    mean: float
    deviation: float = 0.0
    _is_known: bool = False

    def learn(self, seconds: float) -> None:
        """Something took so long."""
        if not self._is_known:
            self.mean, self.deviation, self._is_known = seconds, seconds / 2, True
            return
        self.deviation += (abs(seconds - self.mean) - self.deviation) * DEVIATION_GAIN
        self.mean += (seconds - self.mean) * MEAN_GAIN

    def most(self, times: float = 1.0) -> float:
        """What so many take one after the other, most often at most."""
        return self.mean * times + DEVIATIONS * self.deviation * sqrt(times)
