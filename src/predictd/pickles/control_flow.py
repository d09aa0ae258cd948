"""Find the instructions of a function that every successful call executes, from its jumps and exception handlers."""

from bisect import bisect_left
from dataclasses import dataclass

from predictd.pickles.bytecode import Code, Step, handlers, steps

_RELATIVE = {
    "FOR_ITER", "JUMP_FORWARD", "SETUP_FINALLY", "SETUP_WITH", "SETUP_ASYNC_WITH", "SEND", "POP_JUMP_IF_NONE",
    "POP_JUMP_IF_NOT_NONE",
}  # fmt: skip
_ABSOLUTE_OR_RELATIVE = {"JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP", "POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE"}
_ABSOLUTE = {"JUMP_ABSOLUTE", "JUMP_IF_NOT_EXC_MATCH"}
_ALWAYS = {"JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}
_RETURNS = {"RETURN_VALUE", "RETURN_CONST"}
_RAISES = {"RAISE_VARARGS", "RERAISE"}
_MAX_STEPS = 20_000
_MAX_EDGES = 200_000


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The control flow of a function.

    Attributes:
        certain: offsets of the instructions that every returning call has executed without an exception.
        returns: offsets of the return instructions that a call can reach.
    """

    certain: frozenset[int]
    returns: frozenset[int]


def flow_of(code: Code, version: str) -> Flow | None:
    """Return the control flow of a function, or None if its bytecode is too long or its jumps cannot be followed.

    Each instruction is two nodes of a graph, 'started' and 'done', because an exception leads from the first to a
    handler. The dominators of the exit are on every path to it.
    """
    instructions = list(steps(code, version))
    if not instructions or len(instructions) > _MAX_STEPS:
        return None
    offsets = [step.offset for step in instructions]
    graph: list[list[int]] = [[] for _ in range(2 * len(instructions) + 1)]
    exit_node = len(graph) - 1
    for number, step in enumerate(instructions):
        graph[2 * number].append(2 * number + 1)
        target = jump_target(step, version)
        follows = [] if step.name in _ALWAYS | _RETURNS | _RAISES else [number + 1]
        if target is not None:
            follows.append(bisect_left(offsets, target))
        if any(index >= len(instructions) for index in follows):
            return None
        graph[2 * number + 1] += [2 * index for index in follows]
        if step.name in _RETURNS:
            graph[2 * number + 1].append(exit_node)
    edges = 0
    for start, end, handler in handlers(code):
        index = bisect_left(offsets, handler)
        covered = range(bisect_left(offsets, start), bisect_left(offsets, end))
        edges += len(covered)
        if index >= len(instructions) or edges > _MAX_EDGES:
            return None
        for number in covered:
            graph[2 * number].append(2 * index)
    order = _reachable(graph)
    reached = set(order)
    certain = _dominators(graph, order, exit_node) if exit_node in reached else []
    return Flow(
        certain=frozenset(offsets[node // 2] for node in certain if node % 2),
        returns=frozenset(s.offset for n, s in enumerate(instructions) if s.name in _RETURNS and 2 * n + 1 in reached),
    )


def jump_target(step: Step, version: str) -> int | None:
    """Return the offset that an instruction may jump to; a SETUP of 3.10 may always lead to its handler."""
    forward = step.end + 2 * step.argument
    if "BACKWARD" in step.name:
        return step.end - 2 * step.argument
    if step.name in _RELATIVE or "JUMP_FORWARD" in step.name:
        return forward
    if step.name in _ABSOLUTE or (step.name in _ABSOLUTE_OR_RELATIVE and version == "3.10"):
        return 2 * step.argument
    return forward if step.name in _ABSOLUTE_OR_RELATIVE else None


def _reachable(graph: list[list[int]]) -> list[int]:
    """Return the nodes that can be reached from the first one, in reverse postorder."""
    order: list[int] = []
    visited = {0}
    stack = [(0, iter(graph[0]))]
    while stack:
        node, following = stack[-1]
        for successor in following:
            if successor not in visited:
                visited.add(successor)
                stack.append((successor, iter(graph[successor])))
                break
        else:
            order.append(node)
            stack.pop()
    return order[::-1]


def _dominators(graph: list[list[int]], order: list[int], node: int) -> list[int]:
    """Return the nodes that are on every path from the first node to `node`.

    K. Cooper, T. Harvey, K. Kennedy: A Simple, Fast Dominance Algorithm (2001).
    """
    rank = {entry: number for number, entry in enumerate(order)}
    before: dict[int, list[int]] = {}
    for source in order:
        for successor in graph[source]:
            before.setdefault(successor, []).append(source)
    above = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for current in order[1:]:
            candidates = [source for source in before[current] if source in above]
            nearest = candidates[0]
            for source in candidates[1:]:
                nearest = _common(nearest, source, above, rank)
            if above.get(current) != nearest:
                above[current] = nearest
                changed = True
    dominators = [node]
    while dominators[-1] != order[0]:
        dominators.append(above[dominators[-1]])
    return dominators


def _common(first: int, second: int, above: dict[int, int], rank: dict[int, int]) -> int:
    """Return the nearest node that is on every path to both."""
    while first != second:
        if rank[first] > rank[second]:
            first = above[first]
        else:
            second = above[second]
    return first
