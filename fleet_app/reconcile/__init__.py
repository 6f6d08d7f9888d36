"""What should be there, made so on this node: one loop that looks, decides and acts, with no one above it.

`Machine` decides and remembers, without I/O; `Reconciler` owns the tasks and speaks to engines and replica.
"""

from fleet_app.reconcile.machine import Effect, Hold, Machine, Start, Stop
from fleet_app.reconcile.reconciler import Reconciler, Surroundings

__all__ = ["Effect", "Hold", "Machine", "Reconciler", "Start", "Stop", "Surroundings"]
