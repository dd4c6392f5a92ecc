"""What a process costs: processor time and memory, as the kernel counts them."""

import os
from pathlib import Path


class Cost:
    """Of one process, from now on or from its start."""

    def __init__(self, pid: int, from_start: bool = False) -> None:
        self._directory = Path("/proc") / str(pid)
        self._before = 0 if from_start else self._ticks()
        if not from_start:
            (self._directory / "clear_refs").write_text("5")  # the peak begins anew

    @property
    def cpu_seconds(self) -> float:
        return (self._ticks() - self._before) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mib(self) -> float:
        """Resident memory at most."""
        lines = (self._directory / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    def _ticks(self) -> int:
        fields = (self._directory / "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
