"""What should be there: read from rows and files, edited, placed, planned and decided. Pure: nothing here does I/O.

`Desired.read` is what a replica declares now, `parse` and `edits_of` bring a file to edits, `commit` writes them as one
change, `decide` is the next step for one model on one node.
"""

from fleet_app.desired.apply import Source, dropping, edits_of, node_called
from fleet_app.desired.decision import Action, Decision, Scene, amount, decide
from fleet_app.desired.document import Document, parse
from fleet_app.desired.edits import NOTHING, Change, Edit, changes, commit, last, undo
from fleet_app.desired.facts import Holds, NodeFacts, facts_of
from fleet_app.desired.rows import By, Place, Rows
from fleet_app.desired.specs import Desired, ModelSpec, NodeSpec, Settings

__all__ = [
    "NOTHING",
    "Action",
    "By",
    "Change",
    "Decision",
    "Desired",
    "Document",
    "Edit",
    "Holds",
    "ModelSpec",
    "NodeFacts",
    "NodeSpec",
    "Place",
    "Rows",
    "Scene",
    "Settings",
    "Source",
    "amount",
    "changes",
    "commit",
    "decide",
    "dropping",
    "edits_of",
    "facts_of",
    "last",
    "node_called",
    "parse",
    "undo",
]
