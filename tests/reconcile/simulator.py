"""Random faults and orders of events, and one end state.

    python -m tests.reconcile.simulator FROM SEEDS

A run breaks links, closes lids, stops engines, fails pulls and edits declarations on whatever box comes, while an
oracle stands beside every delete. Then all heals, one last document is declared, and the end must be the same whatever
came before: every copy equal, every declared model as declared, everything undeclared where it was, nothing left to do.
"""

from __future__ import annotations

import sys
from random import Random
from typing import TYPE_CHECKING

from fleet_app.desired import NOTHING, Edit, Place
from tests.reconcile.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = ("alpha", "bravo", "charlie", "delta", "echo")
MINE = "mine:latest"
CHAOS_S = 300.0


class Run:
    """One seed."""

    def __init__(self, seed: int, boxes: int = 6) -> None:
        self.seed = seed
        self.random = Random(f"run {seed}")
        self.world = World([f"box{number:02d}" for number in range(boxes)], seed)
        for node in self.world.nodes.values():
            node.engine.models[MINE] = self.random.random() < 0.5
            for model in self.random.sample(MODELS, 2):
                node.engine.models[f"{model}:latest"] = False
            node.engine.pull_s = self.random.choice((1.0, 20.0, 90.0))
        first = next(iter(self.world.nodes))
        self.world.edit(first, Edit(Place("settings", "", "disruptions_per_hour"), 40))
        self.mine = {name: node.engine.models[MINE] for name, node in self.world.nodes.items()}

    def go(self) -> None:
        """Everything that may go wrong, then the end.

        Raises:
            AssertionError: The oracle saw a wrong delete, or the end is another one.
        """
        until = self.world.now + CHAOS_S
        while self.world.now < until:
            self.random.choice(self._faults())()
            self.world.run(self.random.choice((0.0, 0.3, 2.0, 15.0)))
        self._calm()
        self._last_word()
        self.world.run(600)
        self.world.gossip_s = 60.0
        self.world.run(2 * 3600)
        self._check()

    # --- what goes wrong -------------------------------------------------------------------------------------------

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._edit,
            self._edit,
            self._edit,
            self._partition,
            self.world.heal,
            self._lid,
            self._engine,
            self._fail,
        ]

    def _box(self) -> str:
        return self.random.choice(list(self.world.nodes))

    def _edit(self) -> None:
        model, where = (
            self.random.choice(MODELS),
            self.random.choice(("all", [self._box()], {"labels": {"box": self._box()}})),
        )
        match self.random.randrange(6):
            case 0:
                self.world.declare(self._box(), model, where=where, state=self.random.choice(("present", "absent")))
            case 1:
                self.world.declare(self._box(), model, where="all", replicas=self.random.randint(1, 4))
            case 2:
                self.world.declare(self._box(), model, loaded=self.random.random() < 0.5)
            case 3:
                self._drop(self._box(), model)
            case 4:
                self.world.edit(self._box(), Edit(Place("nodes", self._box(), "drain"), self.random.random() < 0.5))
            case 5:
                for _ in range(20):  # somebody leans on the key
                    self.world.declare(self._box(), model, where="all", state=self.random.choice(("present", "absent")))

    def _drop(self, at: str, model: str) -> None:
        spec = self.world.desired(at).models.get(model)
        if spec is not None:
            self.world.edit(at, *(Edit(Place("models", model, *path), NOTHING) for path in spec.values))

    def _partition(self) -> None:
        boxes = list(self.world.nodes)
        self.random.shuffle(boxes)
        cut = self.random.randrange(1, len(boxes))
        self.world.partition(boxes[:cut], boxes[cut:])

    def _lid(self) -> None:
        name = self._box()
        if self.world.nodes[name].is_running:
            self.world.crash(name)
        else:
            self.world.restart(name)

    def _engine(self) -> None:
        engine = self.world.nodes[self._box()].engine
        engine.condition = self.random.choice(("ready", "unreachable", "loading"))

    def _fail(self) -> None:
        self.world.nodes[self._box()].engine.fails += self.random.randint(1, 3)

    # --- the end ---------------------------------------------------------------------------------------------------

    def _calm(self) -> None:
        self.world.heal()
        for name, node in self.world.nodes.items():
            self.world.restart(name)
            node.engine.condition, node.engine.fails = "ready", 0
        self.world.run(60)

    def _last_word(self) -> None:
        first = next(iter(self.world.nodes))
        for node in self.world.nodes:
            self.world.edit(first, Edit(Place("nodes", node, "drain"), NOTHING))
        for model in MODELS:
            self._drop(first, model)
        self.world.declare(first, "alpha", where="all", loaded=True)
        self.world.declare(first, "bravo", where="all", state="absent")
        self.world.declare(first, "charlie", where="all", replicas=2)
        self.world.declare(first, "delta", where=[first], loaded=False)

    def _check(self) -> None:
        boxes = sorted(self.world.nodes)
        declared = {name: self.world.desired(name) for name in boxes}
        assert all(found == declared[boxes[0]] for found in declared.values()), "copies differ"
        assert declared[boxes[0]].unreadable == ()
        assert self.world.having("alpha") == boxes, self.world.having("alpha")
        assert self.world.having("bravo") == [], self.world.having("bravo")
        assert len(self.world.having("charlie")) >= 2, self.world.having("charlie")
        assert boxes[0] in self.world.having("delta")
        for name, node in self.world.nodes.items():
            assert node.engine.models["alpha:latest"] is True
            assert node.engine.models.get(MINE) is self.mine[name], "an undeclared model was touched"
            assert node.machine is not None
            assert {c.kind for c in node.machine.conditions()} == {"Ready"}, node.machine.conditions()
        told = [action for at, _, action in self.world.actions() if at > self.world.now - 1800 and action.verb != "ask"]
        assert told == [], f"{len(told)} actions at the end, such as {told[0]}"


def main(first: int, seeds: int) -> int:
    """Run seeds; print the line that replays the first that fails."""
    for seed in range(first, first + seeds):
        try:
            Run(seed).go()
        except AssertionError as error:
            print(f"seed {seed}: {str(error)[:500]}\n  again: python -m tests.reconcile.simulator {seed} 1")
            return 1
    print(f"{seeds} runs of the fleet's simulator from seed {first}: one end state, no wrong delete")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
