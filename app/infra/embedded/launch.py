"""Run a command that dies with the process which asked for it, as an unprivileged user if that is asked too.

`process.py` runs this file as a script in an isolated interpreter, so it imports the standard library only:

    launch.py PARENT_PID DEATH_SIGNAL ISOLATION OWNED_COUNT OWNED... COMMAND...

Isolation matters to root only, because Postgres refuses to run as root:
`none` keeps the user; `namespace` shows root to the command as `nobody` in a user namespace, where everything root owns
stays reachable; `setuid` becomes `nobody`; `auto` takes the first of these two which the kernel allows.
"""

import ctypes
import os
import pwd
import sys
from collections.abc import Callable

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Take on the asked-for identity, tie this process to its parent, become the command."""
    parent_pid, death_signal, owned_count = int(arguments[0]), int(arguments[1]), int(arguments[3])
    isolation, owned, command = arguments[2], arguments[4 : 4 + owned_count], arguments[4 + owned_count :]
    if isolation != "none" and os.geteuid() == 0:
        become_unprivileged(isolation, owned, command[0])
    if sys.platform == "linux":
        # Only now: a change of user clears the death signal.
        check(libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0), "prctl")
    if os.getppid() != parent_pid:
        sys.exit("the parent process is gone")
    os.execvp(command[0], command)


def become_unprivileged(isolation: str, owned: list[str], program: str) -> None:
    """Give `owned` to the identity that the command will have, and take that identity."""
    uid, gid = unprivileged_identity()
    if isolation == "namespace" or (isolation == "auto" and succeeds(lambda: enter_user_namespace(uid, gid))):
        for directory in owned:
            give(directory, os.geteuid(), os.getegid())
        enter_user_namespace(uid, gid)
        return
    for directory in owned:
        give(directory, uid, gid)
    if succeeds(lambda: reach_as(uid, gid, [program, *owned])):
        become(uid, gid)
    else:
        become_with_passage(uid, gid)


def unprivileged_identity() -> tuple[int, int]:
    """Choose a user that the password database knows, because initdb looks its own name up."""
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    chosen = next((user for user in users if user.pw_name == "nobody"), users[0] if users else None)
    return (chosen.pw_uid, chosen.pw_gid) if chosen is not None else (65534, 65534)


def enter_user_namespace(uid: int, gid: int) -> None:
    """Map the present user to `uid` in a new user namespace; the next exec drops every capability."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWUSER), "unshare")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def become(uid: int, gid: int) -> None:
    """Become another user for good."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def become_with_passage(uid: int, gid: int) -> None:
    """Become another user who may still pass directories closed to all but root, such as a root-only home."""
    # Without this bit access(2) ignores capabilities, and initdb finds its own programs with access(2).
    check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "prctl")
    become(uid, gid)
    mask = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    check(libc.capset(header, data), "capset")
    check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0), "prctl")


def reach_as(uid: int, gid: int, paths: list[str]) -> None:
    """Become another user and check that every path can be entered or executed."""
    become(uid, gid)
    for path in paths:
        os.stat(path)
        if not os.access(path, os.X_OK):
            raise PermissionError(path)


def give(directory: str, uid: int, gid: int) -> None:
    """Make `uid` the owner of a tree, unless it owns the top already."""
    if os.stat(directory).st_uid == uid:
        return
    # The top goes last, so that an interrupted pass is taken up again.
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)
        os.chown(parent, uid, gid, follow_symlinks=False)


def succeeds(attempt: Callable[[], None]) -> bool:
    """Try something irreversible in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def write(path: str, text: str) -> None:
    """Write a kernel file in one call."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def check(result: int, call: str) -> None:
    """Raise what a C call reported."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot start the command {sys.argv[5:]}: {error}")
