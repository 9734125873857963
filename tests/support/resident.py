"""How much memory a process has, as the kernel counts it."""

from pathlib import Path
from typing import Final

# `man 5 proc`: resets the peak resident size of a process to its present one.
_RESET_PEAK: Final = "5"


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process now, in MiB."""
    return field_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Return the largest resident memory of a process since its start or since `reset_peak`, in MiB."""
    return field_mib(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let the peak of a process be what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def field_mib(pid: int, name: str) -> float:
    """Return a size in `/proc/<pid>/status`, in MiB.

    Raises:
        ProcessLookupError: if the process has ended.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        status = ""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has ended")
