"""The peak memory of a process as the kernel reports it (VmHWM). Linux only."""

from pathlib import Path


def peak(pid: int | str = "self") -> int:
    """Return the peak of resident memory in bytes, shared pages included.

    Not by `getrusage`: its value for a new program includes the process that started it.

    Raises:
        OSError: the process does not exist.
    """
    return peak_in(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def peak_in(status: str) -> int:
    """Return the same from the text of /proc/PID/status; 0 for a process that has ended."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) << 10
    return 0
