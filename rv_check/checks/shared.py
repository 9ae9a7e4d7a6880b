"""What several checks need, such as the built models: made once, in the first check that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, overload

from rv_check.errors import CannotRun

T = TypeVar("T")


class Blocked(Exception):
    """What a check builds on has failed, and another check has said so."""


@dataclass(frozen=True)
class Memo:
    """What the checks of one network have made so far, and which of them met what cannot be made."""

    made: dict[object, Any] = field(default_factory=dict)
    failed: dict[object, str] = field(default_factory=dict)


class Sharing(Protocol):
    """What has shared properties: it knows which check asks, and remembers."""

    @property
    def name(self) -> str:
        """What a report calls the network."""

    @property
    def check(self) -> str:
        """The check that asks."""

    @property
    def memory(self) -> Memo:
        """What the checks have made so far."""


class Shared(Generic[T]):
    """A property that is made once.

    Where it cannot be made, the first check to ask fails with the reason, and the others are blocked. What is not
    installed is said to each of them.
    """

    def __init__(self, words: str, make: Callable[[Any], T]):
        self.words, self.make, self.__doc__ = words, make, make.__doc__

    @overload
    def __get__(self, run: None, owner: type) -> Shared[T]: ...

    @overload
    def __get__(self, run: Sharing, owner: type) -> T: ...

    def __get__(self, run: Sharing | None, owner: type) -> Shared[T] | T:
        if run is None:
            return self
        made, failed = run.memory.made, run.memory.failed
        if self in failed:
            raise Blocked(f"{self.words}: see {run.name}::{failed[self]}")
        if self not in made:
            try:
                made[self] = self.make(run)
            except (Blocked, CannotRun):
                raise
            except Exception:
                failed[self] = run.check
                raise
        value: T = made[self]
        return value


def shared(words: str) -> Callable[[Callable[[Any], T]], Shared[T]]:
    """Make a method a shared property; `words` are those of a check that is blocked by it."""
    return lambda make: Shared(words, make)
