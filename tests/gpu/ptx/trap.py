"""What stops an interpreted kernel: something that a GPU might let pass, and must not happen."""

from __future__ import annotations


class Trap(Exception):
    """`kind` is one word or two: "out of bounds", "race", "uninitialised", ...

    `at`: which of the threads that took part, where one is to blame.
    """

    def __init__(self, kind: str, message: str, at: int | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message, self.at = kind, message, at
