"""The few Linux calls that Python does not have. All raise OSError."""

from __future__ import annotations

import ctypes
import os

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND = 32, 1024, 2048, 4096
MS_REC, MS_PRIVATE, MS_RELATIME = 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _prctl(option: int, *arguments: object) -> None:
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    _call("prctl", ctypes.c_int(option), *padded)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones. A new pid namespace is for the children to come."""
    _call("unshare", ctypes.c_int(flags))


def enter_namespace(descriptor: int, kind: int) -> None:
    """Join a namespace by an open descriptor of it."""
    _call("setns", ctypes.c_int(descriptor), ctypes.c_int(kind))


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    name = kind.encode() if kind else None
    words = (source.encode(), target.encode(), name, ctypes.c_ulong(flags), options.encode())
    _call("mount", *words)


def detach(target: str) -> None:
    """Take a mount, and all below it, out of sight."""
    _call("umount2", target.encode(), ctypes.c_int(MNT_DETACH))


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace and move the old root to ``old``."""
    _call("pivot_root", new.encode(), old.encode())


def die_with_parent() -> None:
    """Be killed when the parent ends. A change of user undoes it."""
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9))


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one."""
    _prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0))


def no_capabilities() -> None:
    """Give up every capability, for good."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def no_new_privileges() -> None:
    """Make setuid programs powerless."""
    _prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def filter_calls(program: bytes) -> None:
    """Install a seccomp filter of 8-byte instructions, for good."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    listing = Program(len(program) // 8, program)
    _prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(listing))
