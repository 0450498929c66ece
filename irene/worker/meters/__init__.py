"""Energy meters: found at run time, never needed to import, one protocol for all.

A window is what lies between `start` and `stop`; windows of one meter do not overlap.
Each meter is a small module: `nvml` (NVIDIA boards), `rapl` (CPU packages and DRAM),
`replay` (a recorded run).
"""

from __future__ import annotations

from irene.worker.meters.meter import Meter, Reading
from irene.worker.meters.search import Found, available

__all__ = ["Found", "Meter", "Reading", "available"]
