"""What a run of the oracle compared."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts documents by their two verdicts, and differences by their name."""

    def __init__(self) -> None:
        self.seed = 0
        """Of the first round; each further round counts one up."""
        self.rounds = 0
        self.plans = 0
        self.fast = 0
        self.verdicts: Counter[tuple[bool, bool]] = Counter()
        """(Polku accepts, the validator accepts) → documents."""
        self.fired: Counter[str] = Counter()

    @property
    def documents(self) -> int:
        return self.verdicts.total()

    @property
    def accepted(self) -> int:
        return self.verdicts[True, True] + self.verdicts[True, False]

    def lines(self) -> list[str]:
        """The counts in words."""
        fired = ", ".join(f"{name} {count:,}" for name, count in self.fired.most_common())
        return [
            f"{self.documents:,} documents of {self.plans:,} plans compared (--seed {self.seed})",
            f"{self.verdicts[True, True]:,} accepted by both, {self.fast:,} of them on the fast path; "
            f"{self.verdicts[False, False]:,} refused by both",
            f"{self.verdicts[True, False]:,} accepted and {self.verdicts[False, True]:,} refused by Polku alone, "
            f"each for a listed reason: {fired}",
        ]


TALLY = Tally()
