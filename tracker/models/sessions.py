"""onnxruntime sessions whose results depend neither on the number of threads nor on what ran before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 2
"""Threads of a session unless asked otherwise; small networks gain little from more."""


def open_session(model: Path | bytes, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session on the CPU.

    Args:
        model: An ONNX file or its bytes.
        threads: Threads inside an operator; 0: up to `MOST_THREADS` cores.

    Raises:
        ModelError: if the file is no ONNX model that runs here.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads otherwise spin and take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        name = "the converted model" if isinstance(model, bytes) else model
        raise ModelError(f"{name} is no ONNX model that onnxruntime can run: {error}; fetch the file again") from error
