"""Properties that an object of a mapping has more than once."""

from collections.abc import Iterator, Mapping, Sequence

from medtech.dotnet.json_reader import Node
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import listed
from medtech.validation.written_mapping import WrittenMapping


def duplicates(written: WrittenMapping, repeated: Mapping[Node, Sequence[Node]]) -> Iterator[Finding]:
    """Values that count, and are not what the same property says elsewhere in its object; `repeated` as
    `mapping.schema.Issues` has it. Which one is meant is not known, so there is no fix."""
    for node, others in repeated.items():
        different = [other for other in others if not _same(node, other)]
        if not different:
            continue
        lines = sorted({other.line for other in different})
        shown = f"line{'s' if len(lines) > 1 else ''} {listed(map(str, lines), '')}"
        yield warning(
            Name.DUPLICATE_PROPERTY,
            f"Its object has '{node.pointer.rpartition('/')[2]}' more than once (upper and lower case are the same), "
            f"with different values. This one counts, and what stands in {shown} does not. Keep the one that is meant.",
            written.place(node),
        )


def _same(one: Node, other: Node) -> bool:
    """Whether two values say the same; by a loop, since a mapping may be 512 levels deep."""
    waiting = [(one, other)]
    while waiting:
        left, right = (node.value for node in waiting.pop())
        if type(left) is not type(right):
            return False
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            waiting += ((left[name], right[name]) for name in left)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            waiting += zip(left, right, strict=True)
        elif left != right:
            return False
    return True
