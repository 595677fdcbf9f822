"""What a section of the report says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contest import Result

Json = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure that is to be reached; `value` is None where it could not be measured."""

    text: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is."""
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def as_json(self) -> Json:
        """As the report has it."""
        bound = {"at_least": self.at_least} if self.at_least is not None else {"at_most": self.at_most}
        return {"text": self.text, "value": self.value, **bound, "reached": self.reached}


@dataclass(frozen=True)
class Section:
    """Figures of one section. `unit` is what a rate counts; `facts` are figures of another kind."""

    unit: str
    contestants: Sequence[Mapping[str, Any]] = ()
    targets: Sequence[Target] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> Json:
        """As the report has it."""
        return {
            "unit": self.unit,
            "contestants": list(self.contestants),
            **ratios(self.contestants),
            "targets": [target.as_json() for target in self.targets],
            **self.facts,
        }


def told(results: Iterable[Result]) -> list[Json]:
    """The results of a race as contestants of a section."""
    return [result.as_json() for result in results]


def rate_of(contestants: Iterable[Mapping[str, Any]], role: str) -> float | None:
    """The best rate of a role; None where nobody of it has finished."""
    return max((c["rate"] for c in contestants if c["role"] == role and "rate" in c), default=None)


def peak_of(contestants: Iterable[Mapping[str, Any]], role: str = "ours") -> float | None:
    """The highest memory of a role in MB."""
    return max((c["peak_rss_mb"] for c in contestants if c["role"] == role and "rate" in c), default=None)


def ratios(contestants: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Ours to the limit, and to the best peer, of the same run."""
    ours = rate_of(contestants, "ours")

    def to(role: str) -> float | None:
        other = rate_of(contestants, role)
        return ours / other if ours and other else None

    return {"ratio_to_limit": to("limit"), "ratio_to_best_peer": to("peer")}
