from collections.abc import Sequence
from typing import Any

ABI: int

class Kernel:
    def __init__(
        self,
        path: str,
        symbol: str,
        inputs: tuple[tuple[str, tuple[int, ...]], ...],
        outputs: tuple[tuple[str, tuple[int, ...]], ...],
        workspace_bytes: int,
        params: Any,
        flat_inputs: bool,
        result: int,
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def call_leaves(self, leaves: Sequence[Any], /) -> list[Any]: ...
    def call_plain(self, leaves: Sequence[Any], /) -> list[Any]: ...
