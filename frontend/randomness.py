"""Random draws while recording: every draw gets a key of its own, as a value of the graph.

The main graph has one key as its last input. A draw's key is derived from the key of its frame and
a number that no other draw of the trace has; a function that is run for many examples or steps
derives a key for each of them. The bits are Threefry's (pb.random_bits); what torch's samplers make
of them is in ``samplers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .graph import RandomBits, Value
from .state import Frame

if TYPE_CHECKING:
    from .capture import Recorder

_REFUSED = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
    "'different' randomness flags on vmap or perform the randomness operation out of vmap"
)


def bits(shape: Sequence[int], count: int) -> torch.Tensor:
    """Independent integers of ``count`` random bits each, int64, under a new key."""
    from .capture import current  # capture.py knows this file

    recorder = current()
    assert recorder is not None
    _refuse(recorder)
    key = _derived(recorder, frame_key(recorder, recorder.frame))
    like = Value(tuple(shape), torch.int64)
    (value,) = recorder.emit(RandomBits(count), (recorder.local(key),), {}, [like])
    return recorder.tensor_of(value)


def seeding(*_: object, **__: object) -> None:
    """Instead of torch.manual_seed and its like inside a trace."""
    from .capture import current

    recorder = current()
    assert recorder is not None
    raise recorder.error(
        "the function seeds torch's generator, which would happen once and not at each call",
        help="call torch.manual_seed before the compiled function",
    )


def _refuse(recorder: Recorder) -> None:
    frame: Frame | None = recorder.frame
    while frame is not None:
        kind = None if frame.draws is None else frame.draws.kind
        if kind == "error":
            raise RuntimeError(_REFUSED)
        if kind == "loop":
            raise recorder.error(
                "random numbers in a while_loop: its steps have no number to tell them apart",
                help="use scan or fori_loop",
            )
        frame = frame.parent


def _derived(recorder: Recorder, key: Value, count: int | None = None) -> Value:
    """A key that nothing else has, or ``count`` of them, made in the present frame."""
    recorder.draws += 1
    scalar = Value((), torch.int64)
    target = RandomBits(64, recorder.draws)
    (derived,) = recorder.emit(target, (recorder.local(key),), {}, [scalar])
    if count is None:
        return derived
    (keys,) = recorder.emit(RandomBits(64), (derived,), {}, [Value((count,), torch.int64)])
    return keys


def frame_key(recorder: Recorder, frame: Frame) -> Value:
    """The key that draws of a frame derive theirs from, as a value of the frame."""
    if frame.key is not None:
        return frame.key
    if frame.parent is None:
        frame.key = frame.own(Value((), torch.int64))
        return frame.key
    outer = frame_key(recorder, frame.parent)
    if frame.draws is None:
        return recorder.local(outer, frame)
    recorder.frame, inner = frame.parent, recorder.frame
    try:
        keys = _derived(recorder, outer, frame.draws.count)
    finally:
        recorder.frame = inner
    frame.draws.keys = keys
    frame.key = frame.captured[keys] = frame.own(Value((), torch.int64))
    return frame.key
