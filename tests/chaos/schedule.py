# SPDX-License-Identifier: BSD-2-Clause
"""
Which fault when: drawn from the seed alone, over the kinds that are asked for, so that the same seed gives the same faults with the
same parameters.
"""

import dataclasses
import random

MEAN_S = 1.0  # between two faults
SHORTEST_S, LONGEST_S = 0.02, 4.0


@dataclasses.dataclass(frozen=True)
class Event:
    """One fault to come."""
    at: float   # seconds from the start of the faults
    kind: str
    seed: int   # of its parameters

    def random(self):
        """Where the fault draws its parameters from."""
        return random.Random(self.seed)

    def __str__(self):
        return f"{self.at:.2f} {self.kind}#{self.seed:x}"


def draw(seed, seconds, weights):
    """The faults of that many seconds. weights: {kind: how often, compared with the others}."""
    rng = random.Random(seed)
    kinds = sorted(weights)
    events, at = [], 0.0
    while True:
        at += min(LONGEST_S, max(SHORTEST_S, rng.expovariate(1 / MEAN_S)))
        kind = rng.choices(kinds, [weights[k] for k in kinds])[0]
        event = Event(at, kind, rng.getrandbits(32))
        if at >= seconds:
            return events
        events.append(event)


def lines(events, width=120):
    """The schedule for people, in lines."""
    line = ""
    for event in events:
        if line and len(line) + 2 + len(str(event)) > width:
            yield line
            line = ""
        line += ("  " if line else "") + str(event)
    if line:
        yield line
