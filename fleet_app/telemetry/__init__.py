"""What this box measures of itself: processor, memory, disk and GPUs.

`Telemetry.sample()` never raises and reads everything afresh; what cannot be read is None, never zero.
"""

from fleet_app.telemetry.sampler import Sample, Telemetry

__all__ = ["Sample", "Telemetry"]
