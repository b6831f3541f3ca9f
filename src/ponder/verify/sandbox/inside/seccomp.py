"""The system calls that a confined process is refused: new processes, sockets, tracing, mounts.

Namespaces hide the host; this makes less of the kernel reachable, and closes what namespaces leave
open: sockets of families that they do not divide (vsock), key rings, memory outside the limits.
Numbers are those of Linux's own tables for x86_64 and aarch64.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

_NONE = -1
# name: number on x86_64, number on aarch64
_REFUSED = {
    "fork": (57, _NONE),
    "vfork": (58, _NONE),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "syslog": (103, 116),
    "personality": (135, 92),
    "modify_ldt": (154, _NONE),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
}
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_KILL, _TGKILL = (62, 129), (234, 131)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_CLONE_THREAD, _AF_UNIX, _X32 = 0x10000, 1, 0x40000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _RETURN = 0x20, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000


def _step(code: int, operand: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, operand)


def _refuse(number: int, error: int = errno.EPERM) -> bytes:
    return _step(_IF_EQUAL, number, 0, 1) + _step(_RETURN, _FAIL | error)


def _refuse_unless(number: int, test: int, operand: int) -> bytes:
    """Refuse a call unless its first argument (the low 32 bits) passes ``test``."""
    return (
        _step(_IF_EQUAL, number, 0, 4)
        + _step(_LOAD, _FIRST_ARGUMENT)
        + _step(test, operand, 0, 1)
        + _step(_RETURN, _ALLOW)
        + _step(_RETURN, _FAIL | errno.EPERM)
    )


def program() -> bytes:
    """The filter for this process: it may start threads, and signal itself alone.

    Raises OSError on a machine whose numbers are not listed here.
    """
    machine = os.uname().machine
    if machine not in _MACHINES or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no system call numbers for this Python on {machine}")
    column, architecture = _MACHINES[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
        _step(_IF_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _FAIL | errno.EPERM),
        _refuse(_CLONE3[column], errno.ENOSYS),  # the C library then falls back to clone
        _refuse_unless(_CLONE[column], _IF_ANY_BIT, _CLONE_THREAD),
        _refuse_unless(_SOCKET[column], _IF_EQUAL, _AF_UNIX),
        _refuse_unless(_KILL[column], _IF_EQUAL, os.getpid()),
        _refuse_unless(_TGKILL[column], _IF_EQUAL, os.getpid()),
    ]
    numbers = [row[column] for row in _REFUSED.values()]
    steps += [_refuse(number) for number in numbers if number != _NONE]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])
