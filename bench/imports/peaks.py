"""The most memory that a process ever had, as the kernel kept it (VmHWM). Linux only."""

from pathlib import Path


def peak(pid: int | str = "self") -> int:
    """Resident memory at its peak, in bytes, shared pages included.

    Not `getrusage`: what that says of a new program includes the process that started it.

    Raises:
        OSError: the process is gone.
    """
    return peak_in(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def peak_in(status: str) -> int:
    """The same, from the text of /proc/PID/status; 0 of a process that has ended."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) << 10
    return 0
