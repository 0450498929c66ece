"""The errors that stop a stage. Each says what failed, on what, and what to do.

Broken user code is not an error of ours: the text half returns problems, the worker
returns a `Refusal`. These are raised where a stage cannot go on at all.
"""

from __future__ import annotations


class IreneError(Exception):
    """Root of all errors that this project raises for a person to read."""


class TargetError(IreneError):
    """No class of a file can be built, or the description of one is malformed."""


class DeviceError(IreneError):
    """A device name is unknown or ambiguous; the message offers the nearest names."""


class SettingsError(IreneError):
    """A setting, option or key of `[tool.irene]` is unknown or has a wrong value."""


class WorkerError(IreneError):
    """The process that runs the user's code could not be started or died."""


class ProtocolError(IreneError):
    """A message between the two halves is of another version or malformed."""


class TreeError(IreneError):
    """A tree does not add up, or its JSON is malformed."""


class CacheError(IreneError):
    """The cache file cannot be used; what it held is set aside, never deleted."""


class MeterError(IreneError):
    """A meter is missing, unreadable, or gave readings that cannot be trusted."""


class DatasetError(IreneError):
    """Measured data that cannot be used: the file, the line and what to do are named."""


class PredictorError(IreneError):
    """A saved predictor is of another version, malformed, or lacks what it is asked for."""
