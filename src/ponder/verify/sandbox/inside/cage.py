"""What a confined process may see and use: an almost empty root folder, few rights, limits."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from . import kernel, seccomp

LINUX = sys.platform.startswith("linux")
SCRATCH_BYTES = 16 * 2**20
SCRATCH_FILES = 1024
OPEN_FILES = 64
_DEVICES = ("zero", "random", "urandom")
_MASKED = ("site-packages", "dist-packages")
_KEPT = (
    (os.ST_NOATIME, kernel.MS_NOATIME),
    (os.ST_NODIRATIME, kernel.MS_NODIRATIME),
    (os.ST_RELATIME, kernel.MS_RELATIME),
    (os.ST_NOEXEC, kernel.MS_NOEXEC),
) if LINUX else ()  # fmt: skip


@dataclass(frozen=True)
class Cage:
    """How processes are confined.

    ``namespaces`` is False where the user accepts the risk; ``identity`` is the user and group to
    become, None to stay.
    """

    namespaces: bool
    identity: int | None
    cpu_seconds: int
    memory_mb: int
    threads: int

    def scratch(self, folder: str) -> None:
        """Make ``folder`` the current one; in namespaces it is a file system of its own first."""
        if self.namespaces:
            kernel.unshare(kernel.NEWNS)
            flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
            options = f"size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES},mode=0777"
            kernel.mount("tmpfs", folder, "tmpfs", flags, options)
        os.chdir(folder)

    def lock(self) -> None:
        """Give up every right that this process does not need, for good."""
        self._limit()
        if self.identity is not None:
            os.setresgid(*[self.identity] * 3)
            os.setresuid(*[self.identity] * 3)
        if not LINUX:
            return
        kernel.no_capabilities()
        kernel.hide_memory()
        kernel.die_with_parent()
        kernel.no_new_privileges()
        if self.namespaces:
            kernel.filter_calls(seccomp.program())
        else:
            with suppress(OSError):
                kernel.filter_calls(seccomp.program())

    def _limit(self) -> None:
        limits = {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_mb * 2**20,
            "RLIMIT_FSIZE": SCRATCH_BYTES,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_SIGPENDING": OPEN_FILES,
        }
        if self.namespaces or self.identity is not None:
            # Counted by user: where the user is nobody's but ours. Ours are at most four.
            limits["RLIMIT_NPROC"] = self.threads + 4
        for name, value in limits.items():
            try:
                resource.setrlimit(getattr(resource, name), (value, value))
            except (AttributeError, ValueError, OSError):
                if self.namespaces:
                    raise


def own_root() -> None:
    """Show this mount namespace nothing but Python's standard library, read-only, and four devices.

    No /proc, no /sys, no /etc, no home. The root is a folder below the root of the mounts: who is
    in such a root cannot make user namespaces (Linux asks for that), so no capability comes back.
    """
    folders = [(path, os.path.realpath(path)) for path in _library()]
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    bare = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", "/tmp", "tmpfs", bare, "size=1m,mode=0755")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    for path, source in folders:
        _show("/old" + source, "/new" + path, bare)
        for name in _MASKED:
            if os.path.isdir(f"/new{path}/{name}"):
                masked = bare | kernel.MS_RDONLY
                kernel.mount("tmpfs", f"/new{path}/{name}", "tmpfs", masked, "size=4k")
    device = kernel.MS_NOSUID | kernel.MS_NOEXEC
    _show("/old/dev/null", "/new/dev/null", device)
    for name in _DEVICES:
        with suppress(OSError):
            _show(f"/old/dev/{name}", f"/new/dev/{name}", device)
    os.makedirs("/new/tmp", exist_ok=True)
    kernel.detach("/old")
    os.rmdir("/old")
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | bare)
    os.chroot("/new")
    os.chdir("/tmp")


def _library() -> list[str]:
    """The places on sys.path, without those that lie in others."""
    places = [os.path.abspath(path) for path in sys.path if os.path.exists(path)]
    return [a for a in places if not any(a != b and a.startswith(b + os.sep) for b in places)]


def _show(source: str, target: str, flags: int) -> None:
    """Bind ``source``, read-only, to ``target``."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND)
    # A user namespace may not take back what the host's mount forbids: say it again.
    held = os.statvfs(target).f_flag
    flags |= sum(ours for theirs, ours in _KEPT if held & theirs)
    kernel.mount(
        "none", target, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags
    )


def keep_open(descriptors: Sequence[int]) -> None:
    """Renumber ``descriptors`` 0, 1, 2, ... and close all others."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, len(descriptors)) for each in descriptors]
    for number, each in enumerate(high):
        os.dup2(each, number)
    os.closerange(len(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
