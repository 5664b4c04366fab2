"""Any history of changes leaves the graph as a naive one computed from scratch would be."""

import itertools
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sf_mcp.core.errors import CyclicDependencies
from sf_mcp.core.graph import Dependency, Node, Standing, TaskGraph
from sf_mcp.core.models import TaskId

MOST_TASKS = 14

priorities = st.integers(1, 5)
minutes = st.sampled_from([0.0, 0.1, 5.0, 10.0, 30.0, 45.5])
standings = st.sampled_from([Standing.OPEN, Standing.OPEN, Standing.HELD, *Standing])
"""Mostly unfinished: only those pull, wait and are ready."""
picks = st.integers(0, 1_000)
pairs = st.lists(st.tuples(picks, picks), max_size=5)
outlines = st.tuples(priorities, minutes, standings, st.booleans())


class NaiveGraph:
    """What the graph must answer: the definitions, with no memory."""

    def __init__(self) -> None:
        self.nodes: dict[TaskId, Node] = {}
        self.needs: dict[TaskId, set[TaskId]] = {}

    def oldest_first(self, task_ids: Iterable[TaskId]) -> tuple[TaskId, ...]:
        return tuple(sorted(task_ids, key=lambda t: (self.nodes[t].order, t)))

    def is_unfinished(self, task_id: TaskId) -> bool:
        return self.nodes[task_id].standing in {Standing.OPEN, Standing.HELD}

    def dependents(self, task_id: TaskId) -> list[TaskId]:
        return [other for other, needed in self.needs.items() if task_id in needed]

    def waiting(self, task_id: TaskId) -> list[TaskId]:
        return [other for other in self.dependents(task_id) if self.is_unfinished(other)]

    def unmet(self, task_id: TaskId) -> tuple[TaskId, ...]:
        return self.oldest_first(
            t for t in self.needs[task_id] if self.nodes[t].standing is not Standing.SATISFIED
        )

    def needed(self, task_id: TaskId) -> set[TaskId]:
        """Return everything that the task depends on, directly or not, ended or not."""
        found: set[TaskId] = set()
        new = set(self.needs[task_id])
        while new:
            found |= new
            new = {further for t in new for further in self.needs[t]} - found
        return found

    def is_cyclic(self) -> bool:
        return any(task_id in self.needed(task_id) for task_id in self.nodes)

    def waits_for(self, task_id: TaskId) -> tuple[TaskId, ...]:
        found: set[TaskId] = set()
        new = set(self.unmet(task_id)) if self.is_unfinished(task_id) else set[TaskId]()
        while new:
            found |= new
            new = {t for w in new if self.is_unfinished(w) for t in self.unmet(w)} - found
        return self.oldest_first(found)

    def effective_priority(self, task_id: TaskId) -> int:
        own = self.nodes[task_id].priority
        if not self.is_unfinished(task_id):
            return own
        return min([own, *map(self.effective_priority, self.waiting(task_id))])

    def remaining_minutes(self, task_id: TaskId) -> float:
        if not self.is_unfinished(task_id):
            return 0.0
        below = map(self.remaining_minutes, self.waiting(task_id))
        return self.nodes[task_id].estimate_minutes + max(below, default=0.0)

    def ready(self) -> tuple[TaskId, ...]:
        found = [
            t
            for t, node in self.nodes.items()
            if node.standing is Standing.OPEN and not self.unmet(t)
        ]
        return tuple(
            sorted(
                found,
                key=lambda t: (
                    self.effective_priority(t),
                    not self.nodes[t].ahead,
                    -self.remaining_minutes(t),
                    self.nodes[t].order,
                    t,
                ),
            )
        )

    def topological_order(self, task_ids: Iterable[TaskId]) -> tuple[TaskId, ...]:
        left = set(task_ids)
        order: list[TaskId] = []
        while left:
            free = [t for t in left if not self.needed(t) & left]
            order.append(self.oldest_first(free)[0])
            left.remove(order[-1])
        return tuple(order)


class GraphHistory(RuleBasedStateMachine):
    """Changes go to both graphs; questions come only now and then, so that changes pile up."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = TaskGraph()
        self.naive = NaiveGraph()
        self.made = 0

    def pick(self, number: int, among: NaiveGraph | None = None) -> TaskId:
        ids = list((among or self.naive).nodes)
        return ids[number % len(ids)]

    def new_nodes(self, outline: list[tuple[int, float, Standing, bool]]) -> list[Node]:
        nodes: list[Node] = []
        for priority, estimate, standing, ahead in outline:
            self.made += 1
            nodes.append(
                Node(
                    id=TaskId(f"T{self.made}"),
                    order=self.made // 2,  # pairs of one age: the id must break the tie
                    priority=priority,
                    estimate_minutes=estimate,
                    standing=standing,
                    ahead=ahead,
                )
            )
        return nodes

    def apply(self, nodes: list[Node], dependencies: list[Dependency]) -> NaiveGraph:
        """Return what the naive graph would be with these added."""
        after = deepcopy(self.naive)
        for node in nodes:
            after.nodes[node.id] = node
            after.needs[node.id] = set()
        for task_id, depends_on in dependencies:
            after.needs[task_id].add(depends_on)
        return after

    def expect_refusal(self, error: CyclicDependencies, after: NaiveGraph) -> None:
        assert after.is_cyclic()
        cycle = [TaskId(task_id) for task_id in error.cycle]
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        for task_id, depends_on in itertools.pairwise(cycle):
            assert depends_on in after.needs[task_id]
        self.every_answer_is_the_naive_one(seed=self.made)

    @initialize(
        outline=st.lists(outlines, min_size=4, max_size=9),
        joins=st.lists(st.tuples(picks, picks), min_size=4, max_size=14),
    )
    def start_with_a_tangle(
        self, outline: list[tuple[int, float, Standing, bool]], joins: list[tuple[int, int]]
    ) -> None:
        nodes = self.new_nodes(outline)
        ids = [node.id for node in nodes]
        places = [(a % len(ids), b % len(ids)) for a, b in joins]
        dependencies = [(ids[max(pair)], ids[min(pair)]) for pair in places if len(set(pair)) > 1]
        self.graph.load(nodes, dependencies)
        self.naive = self.apply(nodes, dependencies)

    @precondition(lambda self: len(self.naive.nodes) < MOST_TASKS)
    @rule(outline=st.lists(outlines, min_size=1, max_size=3), joins=pairs)
    def add_all(
        self, outline: list[tuple[int, float, Standing, bool]], joins: list[tuple[int, int]]
    ) -> None:
        nodes = self.new_nodes(outline)
        both = self.apply(nodes, [])
        dependencies = [(self.pick(a, both), self.pick(b, both)) for a, b in joins]
        after = self.apply(nodes, dependencies)
        try:
            self.graph.add_all(nodes, dependencies)
        except CyclicDependencies as error:
            self.expect_refusal(error, after)
        else:
            assert not after.is_cyclic()
            self.naive = after

    @precondition(lambda self: len(self.naive.nodes) < MOST_TASKS)
    @rule(outline=outlines, depends_on=st.lists(picks, max_size=3))
    def add(self, outline: tuple[int, float, Standing, bool], depends_on: list[int]) -> None:
        (node,) = self.new_nodes([outline])
        needed = [self.pick(number) for number in depends_on if self.naive.nodes]
        self.graph.add(node, needed)
        self.naive = self.apply([node], [(node.id, task_id) for task_id in needed])

    @precondition(lambda self: bool(self.naive.nodes))
    @rule(
        number=picks,
        priority=st.none() | priorities,
        estimate=st.none() | minutes,
        standing=st.none() | standings,
        ahead=st.none() | st.booleans(),
    )
    def update(
        self,
        number: int,
        priority: int | None,
        estimate: float | None,
        standing: Standing | None,
        ahead: bool | None,
    ) -> None:
        task_id = self.pick(number)
        self.graph.update(
            task_id, priority=priority, estimate_minutes=estimate, standing=standing, ahead=ahead
        )
        old = self.naive.nodes[task_id]
        self.naive.nodes[task_id] = replace(
            old,
            priority=old.priority if priority is None else priority,
            estimate_minutes=old.estimate_minutes if estimate is None else estimate,
            standing=old.standing if standing is None else standing,
            ahead=old.ahead if ahead is None else ahead,
        )

    @precondition(lambda self: bool(self.naive.nodes))
    @rule(first=picks, second=picks)
    def add_dependency(self, first: int, second: int) -> None:
        dependency = (self.pick(first), self.pick(second))
        after = self.apply([], [dependency])
        try:
            self.graph.add_dependency(*dependency)
        except CyclicDependencies as error:
            self.expect_refusal(error, after)
        else:
            assert not after.is_cyclic()
            self.naive = after

    @precondition(lambda self: any(self.naive.needs.values()))
    @rule(number=picks)
    def remove_dependency(self, number: int) -> None:
        present = [(t, d) for t, needed in self.naive.needs.items() for d in sorted(needed)]
        task_id, depends_on = present[number % len(present)]
        self.graph.remove_dependency(task_id, depends_on)
        self.naive.needs[task_id].remove(depends_on)

    @precondition(lambda self: len(self.naive.nodes) > 3)
    @rule(chosen=st.lists(picks, min_size=1, max_size=2))
    def discard(self, chosen: list[int]) -> None:
        doomed = {self.pick(number) for number in chosen}
        self.graph.discard(doomed)
        for task_id in doomed:
            del self.naive.nodes[task_id], self.naive.needs[task_id]
        for needed in self.naive.needs.values():
            needed -= doomed

    @rule()
    def load_again_backwards(self) -> None:
        nodes = list(self.naive.nodes.values())
        self.graph.load(
            reversed(nodes), [(t, d) for t, needed in self.naive.needs.items() for d in needed]
        )

    @rule(seed=picks)
    def every_answer_is_the_naive_one(self, seed: int) -> None:
        graph, naive = self.graph, self.naive
        assert graph.ready() == naive.ready()
        for task_id, node in naive.nodes.items():
            assert graph.node(task_id) == node
            assert graph.effective_priority(task_id) == naive.effective_priority(task_id)
            assert graph.remaining_minutes(task_id) == naive.remaining_minutes(task_id)
            assert graph.unmet(task_id) == naive.unmet(task_id)
            assert graph.is_ready(task_id) == (task_id in naive.ready())
            assert graph.dependencies(task_id) == naive.oldest_first(naive.needs[task_id])
            assert graph.dependents(task_id) == naive.oldest_first(naive.dependents(task_id))
            assert graph.waits_for(task_id) == naive.waits_for(task_id)
        assert graph.topological_order() == naive.topological_order(naive.nodes)
        some = [task_id for place, task_id in enumerate(naive.nodes) if seed >> place & 1]
        assert graph.topological_order(some) == naive.topological_order(some)
        self.the_critical_path_is_a_longest_chain()

    def the_critical_path_is_a_longest_chain(self) -> None:
        path = self.graph.critical_path()
        for before, after in itertools.pairwise(path):
            assert before in self.naive.needs[after]
        length = 0.0
        for task_id in reversed(path):
            assert self.naive.is_unfinished(task_id)
            length = self.naive.nodes[task_id].estimate_minutes + length
        assert length == max(map(self.naive.remaining_minutes, self.naive.nodes), default=0.0)

    def teardown(self) -> None:
        self.every_answer_is_the_naive_one(seed=0b1010_0101_0110)


TestGraphHistory = GraphHistory.TestCase
TestGraphHistory.settings = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
)
