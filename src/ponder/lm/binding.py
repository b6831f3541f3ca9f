"""llama.cpp as a library: loaded in one place, quiet, and made to behave on shared machines."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

# OpenMP threads that wait for each other spin for milliseconds by default. On two cores, one
# other busy process then slows decoding twentyfold; with a short spin it slows it by half, as it
# should, and an idle machine loses a few percent. Must be set before the library loads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp.llama_cpp as lib

__all__ = ["Packing", "lib", "load_weights"]

Packing = Literal["all", "no-amx", "plain"]
"""How weights are laid out: every repacked form, all but AMX, or as they are in the file."""

_ARCH_PRCTL, _GET_XCOMP_PERM, _TILE_DATA = 158, 0x1022, 18  # of x86-64 Linux, where AMX is

_QUIET = lib.llama_log_callback(lambda level, text, data: None)


def load_weights(path: str, packing: Packing) -> Any:
    """The model in a GGUF file, or None if llama.cpp cannot load it. Prints nothing."""
    lib.llama_log_set(_QUIET, ctypes.c_void_p(0))
    lib.llama_backend_init()
    if packing == "no-amx" and _amx_permitted():
        packing = "plain"
    parameters = lib.llama_model_default_params()
    parameters.use_extra_bufts = packing != "plain"
    # Repacked weights are copies: mapping the file too would keep both in memory.
    parameters.load_mode = (
        lib.LLAMA_LOAD_MODE_MMAP if packing == "plain" else lib.LLAMA_LOAD_MODE_NONE
    )
    if packing == "no-amx":
        with _without_amx(), _silent_stderr():
            return lib.llama_model_load_from_file(path.encode(), parameters)
    return lib.llama_model_load_from_file(path.encode(), parameters)


def _amx_permitted() -> bool:
    """Whether this process has been given AMX already, as PyTorch asks for it: then the refusal
    of :func:`_without_amx` comes too late (arch_prctl(2), ARCH_GET_XCOMP_PERM)."""
    mask = ctypes.c_uint64(0)
    failed = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _GET_XCOMP_PERM, ctypes.byref(mask))
    return not failed and bool(mask.value >> _TILE_DATA & 1)


class _SignalStack(ctypes.Structure):
    _fields_ = (
        ("sp", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def _without_amx() -> Iterator[None]:
    """Let llama.cpp find that AMX may not be used, and choose its next best form.

    It asks the kernel's permission once, when it first loads weights; the kernel refuses while a
    signal stack is registered that could not hold the AMX state (arch_prctl(2), ENOSPC).
    """
    libc = ctypes.CDLL(None)
    memory = ctypes.create_string_buffer(8192)
    small = _SignalStack(ctypes.cast(memory, ctypes.c_void_p), 0, len(memory))
    before = _SignalStack()
    libc.sigaltstack(ctypes.byref(small), ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """llama.cpp reports the refusal with printf to the error output, past its own log."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
