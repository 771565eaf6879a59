"""Child processes that answer requests; one that dies or hangs is an answer, and is replaced.

For checks that run by the thousand: ``tests/coverage`` and ``tests/fuzz``.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STARTING = 600.0  # seconds until a process has imported torch, on a busy machine


class Lost(Exception):
    """No answer: ``verdict`` is crash or timeout."""

    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(text)
        self.verdict, self.text = verdict, text


class Worker:
    """A process that runs ``python -m module``, which calls ``answer``.

    ``limit`` is in seconds, between one sign of life and the next.
    """

    def __init__(self, module: str, limit: float, cache: str) -> None:
        self.module, self.limit, self.cache = module, limit, cache
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.tail: list[str] = []

    def start(self) -> subprocess.Popen[str]:
        self.process = process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONHASHSEED": "0",
                "XDG_CACHE_HOME": self.cache,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines, self.tail = queue.Queue(), []
        threading.Thread(target=self._read, args=(process, self.lines), daemon=True).start()
        threading.Thread(target=self._drain, args=(process, self.tail), daemon=True).start()
        if self.lines.get(timeout=STARTING) is None:
            raise RuntimeError(f"{self.module} does not start: {' '.join(self.tail)}")
        return process

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    @staticmethod
    def _drain(process: subprocess.Popen[str], tail: list[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            tail.append(line.strip())
            del tail[:-5]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self.process
        if process is None or process.poll() is not None:
            process = self.start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        at = ""
        while True:
            try:
                line = self.lines.get(timeout=self.limit)
            except queue.Empty:
                self.stop()
                raise Lost("timeout", f"{at}: no answer in {self.limit:.0f} s") from None
            if line is None:
                code = process.wait()
                tail = " ".join(self.tail)
                raise Lost("crash", f"{at}: the process ended with {code}: {tail}")
            message = json.loads(line)
            if "result" in message:
                return message["result"]
            at = message["at"]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def answer(examine: Callable[[dict[str, Any], Callable[[str], None]], dict[str, Any]]) -> None:
    """The child's side: ``examine(request, at)``, where ``at`` says how far it is."""
    import torch

    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # torch and LLVM may print
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    def say(**message: Any) -> None:
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    say(at="ready")
    for line in sys.stdin:
        say(result=examine(json.loads(line), lambda text: say(at=text)))
