"""Every rule of every op, by the interpreter: see checks.py for what is checked."""

from __future__ import annotations

import re

import pytest
from pullback.dialects.pb import OPS

from ..op_samples import SAMPLES, WITHOUT_SAMPLE, Sample
from .checks import checks_of
from .programs import Program, type_of

CASES = [
    pytest.param(sample, check, id=f"{op}-{number}-{name}")
    for op, samples in SAMPLES.items()
    for number, sample in enumerate(samples)
    for name, check in checks_of(sample).items()
]


@pytest.mark.parametrize("sample,check", CASES)
def test_sample(sample: Sample, check) -> None:
    check(sample)


@pytest.mark.parametrize("op", [*OPS])
def test_op_has_samples(op: str) -> None:
    if op in WITHOUT_SAMPLE:
        assert op not in SAMPLES, f"{op}: listed as without samples, but has some"
    else:
        assert SAMPLES.get(op), f"{op}: no sample"


@pytest.mark.parametrize("op", [*SAMPLES])
def test_samples_use_their_op(op: str) -> None:
    for number, sample in enumerate(SAMPLES[op]):
        program = Program()
        program.define([type_of(x) for x in sample.operands], sample.build)
        assert re.search(rf"{op}[ (]", str(program.module)), f"{op}-{number} holds no {op}"


@pytest.mark.parametrize("op", [*SAMPLES])
def test_op_has_rules(op: str) -> None:
    """Derivatives and transposes are asked for by the samples; these are asked for by name."""
    needed = ["reference"]
    if any(sample.operands for sample in SAMPLES[op]):
        needed.append("batch")
    for rule in needed:
        assert OPS[op].has(rule), f"{op}: no {rule} rule"
    assert OPS[op].has("scalar") or OPS[op].has("lower"), f"{op}: no lowering"
