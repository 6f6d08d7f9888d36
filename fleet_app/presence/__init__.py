"""What a node says of itself: its shape, the rows in which it travels, and the demand that sets the pace.

`shape` has the types that everybody reads; `rows` puts them into rows and back, `beat` packs what moves, `intake`
keeps out what no node of ours says, `voice` writes rows when they are due, `demand` tells whether anybody watches.
"""

from fleet_app.presence.shape import (
    KINDS,
    THROTTLES,
    BackendCondition,
    BackendKind,
    BackendPresence,
    Bytes,
    Capability,
    Condition,
    ConditionKind,
    Count,
    Cpu,
    Gpu,
    GpuProcess,
    GpuVendor,
    Model,
    NodePresence,
    Percent,
    Pull,
    Text,
    Throttle,
    Usage,
    Verb,
)

__all__ = [
    "KINDS",
    "THROTTLES",
    "BackendCondition",
    "BackendKind",
    "BackendPresence",
    "Bytes",
    "Capability",
    "Condition",
    "ConditionKind",
    "Count",
    "Cpu",
    "Gpu",
    "GpuProcess",
    "GpuVendor",
    "Model",
    "NodePresence",
    "Percent",
    "Pull",
    "Text",
    "Throttle",
    "Usage",
    "Verb",
]
