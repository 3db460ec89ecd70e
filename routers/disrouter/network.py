"""Who hands over to whom: an acyclic graph of agents, none of which knows another.

A topology file is YAML. Each agent lists where a query goes that it rejects, the first entry that names the query's
task or names none; an agent without entries is a final one, which never rejects:

    entry: small
    hand_over:
      small:
        - {to: large, tasks: [product]}     # skips ahead
        - {to: medium}
      medium: [{to: large}]
"""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError

from tasks.errors import InputError, examples
from tasks.types import Record


class HandOver(Record):
    """Where a rejected query goes: to the agent `to`, if it is of one of `tasks`, or of any where None."""

    to: str
    tasks: tuple[str, ...] | None = None


class Network(Record):
    """An entry and, by agent, its `hand_over`; what an agent rejects comes to a final one at last."""

    entry: str
    hand_over: dict[str, tuple[HandOver, ...]] = Field(default_factory=dict)

    @classmethod
    def cascade(cls, names: Sequence[str]) -> Self:
        """Return the paper's network: each agent of `names` hands over to the next (§3.1)."""
        return cls(entry=names[0], hand_over={one: (HandOver(to=other),) for one, other in pairwise(names)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a topology file; raises `InputError` where it is none, has a cycle, a dead end, or a stranded agent."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            network = cls.model_validate(content)
        except OSError as error:
            raise InputError(f"cannot read the topology {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the topology {path} is not YAML ({' '.join(str(error).split())[:160]})") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ", ".join(str(part) for part in first["loc"]) or "the file"
            raise InputError(f"the topology {path}: {where}: {first['msg']}; entry and hand_over are wanted") from None
        try:
            network.order()
        except InputError as error:
            raise InputError(f"the topology {path}: {error}") from None
        return network

    def order(self) -> tuple[str, ...]:
        """Return all agents so that each stands before those it hands over to.

        Raises `InputError` for a cycle, for an agent that cannot be reached, and for one that hands over some tasks
        only, so that other queries would be lost.
        """
        graph: dict[str, set[str]] = {self.entry: set()}
        for name, hops in self.hand_over.items():
            graph.setdefault(name, set())
            for hop in hops:
                graph.setdefault(hop.to, set()).add(name)
            if hops and all(hop.tasks is not None for hop in hops):
                raise InputError(f"agent {name} hands over some tasks only; end its list with an entry for any task")
        try:
            order = tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            raise InputError(f"queries would go round in a circle: {' → '.join(reversed(error.args[1]))}") from None
        if stranded := sorted(name for name in order if name != self.entry and not graph[name]):
            raise InputError(
                f"no query ever reaches {examples(stranded)} from {self.entry}; hand over to it, or drop it"
            )
        return order

    def within(self, names: Sequence[str]) -> Self:
        """Return the network of the agents in `names`: what went to another goes on to where that would hand it over.

        The agents that stay change in nothing else. Raises `InputError` where the entry is left out and had handed over
        by task, so that queries would have no single place to enter.
        """
        entry, hand_over = self.entry, dict(self.hand_over)
        for gone in (name for name in self.order() if name not in names):
            onward = hand_over.pop(gone, ())
            if gone == entry:
                if len(onward) != 1:
                    raise InputError(
                        f"{entry}, where queries enter the topology, is not in the pool; write another one"
                    )
                entry = onward[0].to
            for name, hops in hand_over.items():
                hand_over[name] = tuple(
                    new for hop in hops for new in (_past(hop, onward) if hop.to == gone else [hop])
                )
        network = type(self)(entry=entry, hand_over=hand_over)
        network.order()
        return network


def _past(hop: HandOver, onward: Sequence[HandOver]) -> list[HandOver]:
    """Return where queries go on to that `hop` took to an agent with the list `onward`: both conditions must hold."""
    found = []
    for after in onward:
        tasks = after.tasks if hop.tasks is None else hop.tasks
        if hop.tasks is not None and after.tasks is not None:
            tasks = tuple(task for task in hop.tasks if task in after.tasks)
        found.append(HandOver(to=after.to, tasks=tasks))
    return found
