"""The lineage of a bundle as a picture: columns from sources to placements, coloured by how sensitive the data are.

An SVG of our own, because a graph library would be a dependency for one picture. Columns are fixed by what a node is;
inside a column, nodes are ordered by where their neighbours stand, which untangles the lines (the barycentre heuristic
of Sugiyama et al., 1981).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from policy.audit import ALWAYS_READ, Audit
from policy.lineage import FACTS, Kind, Lineage, Node, strictest

COLUMNS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("sources", (Kind.SOURCE, Kind.EVENT)),
    ("facts, context, consent", (*FACTS, Kind.CONTEXT, Kind.CONSENT)),
    ("segments", (Kind.SEGMENT,)),
    ("rules and models", (Kind.RULE, Kind.MODEL)),
    ("messages and trials", (Kind.MESSAGE, Kind.TRIAL)),
    ("placements", (Kind.PLACEMENT,)),
)
#: How sensitive → colour of outline and lines, and of the box. Sensitive facts also say of which kind they are.
COLOURS = {"none": ("#7a8794", "#f4f6f8"), "personal": ("#2566a8", "#eaf2fb"), "sensitive": ("#b3261e", "#fdeceb")}
SWEEPS = 8  # orders no longer change much after five
MARGIN, GAP, HEAD = 24.0, 96.0, 92.0
ROW, ROW_MOST, BOX = 24.0, 52.0, 18.0  # a row's height, at most, and that of its box
CHARACTER, BOLD = {True: 6.65, False: 6.4}, 7.3  # widths at 11 px: monospace, sans; bold
LABEL_MOST = 52
DASHED = 'stroke-dasharray="3 2"'


class Box(NamedTuple):
    node: Node
    label: str
    x: float
    y: float  # of the middle
    width: float


def picture(audit: Audit) -> str:
    """The picture as one SVG document."""
    graph = audit.graph
    columns = _columns(graph)
    boxes, width, height = _placed(columns, graph)
    classes = {node: _class(graph, node) for node in boxes}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="system-ui, sans-serif" font-size="11">',
        f"<title>Data lineage of {escape(audit.bundle)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_heading(audit, columns, boxes),
        *_lines(graph, boxes, classes),
        *(_box(box, graph, classes) for box in boxes.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _columns(graph: Lineage) -> list[tuple[str, list[Node]]]:
    """Nodes by column, those without any left out, ordered so that lines cross little."""
    columns = [(name, [node for node in graph.nodes if node.kind in kinds]) for name, kinds in COLUMNS]
    columns = [(name, nodes) for name, nodes in columns if nodes]
    neighbours: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for before, after in graph.edges:
        neighbours[before].append(after)
        neighbours[after].append(before)
    at = {node: index / len(nodes) for _, nodes in columns for index, node in enumerate(nodes)}
    for sweep in range(SWEEPS):
        for _, nodes in columns if sweep % 2 else reversed(columns):
            nodes.sort(key=lambda node: _middle(node, neighbours, at))
            at |= {node: (index + 0.5) / len(nodes) for index, node in enumerate(nodes)}
    return columns


def _middle(node: Node, neighbours: Mapping[Node, Sequence[Node]], at: Mapping[Node, float]) -> float:
    """Where a node's neighbours stand on average; at the end where it has none."""
    places = [at[each] for each in neighbours[node]]
    return sum(places) / len(places) if places else 1.0


def _class(graph: Lineage, node: Node) -> str:
    """How sensitive a node is; a source is as sensitive as what comes from it."""
    parts = [each.after for each in graph.edges if each.before == node] if node.kind is Kind.SOURCE else [node]
    return strictest(frozenset().union(*(graph.classes(part) for part in parts)))


def _placed(columns: Sequence[tuple[str, list[Node]]], graph: Lineage) -> tuple[dict[Node, Box], float, float]:
    """(boxes, width, height) of the picture. Short columns are spread, and stand in the middle of the tallest."""
    tallest = max(len(nodes) for _, nodes in columns) * ROW
    boxes, x = {}, MARGIN
    for name, nodes in columns:
        labels = {node: _label(node, graph) for node in nodes}
        width = max(_text_width(labels[node], node.kind is Kind.RULE) for node in nodes) + 18
        step = min(ROW_MOST, tallest / len(nodes))
        top = HEAD + (tallest - step * len(nodes)) / 2
        for index, node in enumerate(nodes):
            boxes[node] = Box(node, labels[node], x, top + (index + 0.5) * step, width)
        x += max(width, len(f"{name} (999)") * BOLD) + GAP
    return boxes, max(x - GAP + MARGIN, 720.0), HEAD + tallest + MARGIN


def _text_width(label: str, is_code: bool) -> float:
    return len(label) * CHARACTER[is_code]


def _label(node: Node, graph: Lineage) -> str:
    prefix = {
        Kind.CONSENT: "consent: ", Kind.CONTEXT: "context.", Kind.SEGMENT: "segment.", Kind.MODEL: "model: ",
        Kind.TRIAL: "trial: ",
    }  # fmt: skip
    if node.kind is Kind.SOURCE:
        name = "the caller" if node.name == "caller" else f"import: {node.name}"
    else:
        name = prefix.get(node.kind, "") + node.name
    if node.kind in (*FACTS, Kind.EVENT):
        kinds = sorted(each.partition(":")[2] for each in graph.classes(node))
        name += "".join(f" · {kind}" for kind in kinds if kind)
    return name if len(name) <= LABEL_MOST else name[: LABEL_MOST - 1] + "…"


def _heading(audit: Audit, columns: Sequence[tuple[str, list[Node]]], boxes: Mapping[Node, Box]) -> Iterator[str]:
    yield (
        f'<text x="{MARGIN:.0f}" y="30" font-size="16" font-weight="600" fill="#1b2733">'
        f"Data lineage of {escape(audit.bundle)}</text>"
    )
    x = MARGIN
    for name, (stroke, fill) in COLOURS.items():
        yield f'<rect x="{x:.0f}" y="42" width="14" height="12" rx="3" fill="{fill}" stroke="{stroke}"/>'
        yield f'<text x="{x + 20:.0f}" y="52" fill="#1b2733">{name}</text>'
        x += 90
    yield f'<rect x="{x:.0f}" y="42" width="14" height="12" rx="3" fill="none" stroke="#7a8794" {DASHED}/>'
    yield f'<text x="{x + 20:.0f}" y="52" fill="#1b2733">nothing reads it</text>'
    for name, nodes in columns:
        left = boxes[nodes[0]].x
        yield f'<text x="{left:.0f}" y="80" font-weight="600" fill="#51606e">{name} ({len(nodes)})</text>'


def _lines(graph: Lineage, boxes: Mapping[Node, Box], classes: Mapping[Node, str]) -> Iterator[str]:
    """A line for each edge, the sensitive ones last, so that they lie on top."""
    order = {name: index for index, name in enumerate(COLOURS)}
    coloured = [
        (_colour(classes[after if before.kind is Kind.SOURCE else before]), before, after)
        for before, after in graph.edges
    ]
    for colour, before, after in sorted(coloured, key=lambda line: order[line[0]]):
        left, right = boxes[before], boxes[after]
        x1, x2 = left.x + left.width, right.x
        bend = max(40.0, (x2 - x1) / 2)
        width, opacity = (1.6, 0.8) if colour == "sensitive" else (1.0, 0.38)
        yield (
            f'<path d="M{x1:.1f} {left.y:.1f}C{x1 + bend:.1f} {left.y:.1f} {x2 - bend:.1f} {right.y:.1f} '
            f'{x2:.1f} {right.y:.1f}" fill="none" stroke="{COLOURS[colour][0]}" stroke-width="{width}" '
            f'stroke-opacity="{opacity}"/>'
        )


def _colour(classes: str) -> str:
    return "sensitive" if classes.startswith("sensitive") else classes


def _box(box: Box, graph: Lineage, classes: Mapping[Node, str]) -> str:
    node = box.node
    stroke, fill = COLOURS[_colour(classes[node])]
    is_read = graph.readers(node) or node.kind is Kind.PLACEMENT or node.name in ALWAYS_READ
    dash = "" if is_read else f" {DASHED}"
    font = ' font-family="ui-monospace, monospace"' if node.kind is Kind.RULE else ""
    said = f"{node.kind} {node.name}: {classes[node]}; read by {len(graph.readers(node))}"
    return (
        f"<g><title>{escape(said)}</title>"
        f'<rect x="{box.x:.1f}" y="{box.y - BOX / 2:.1f}" width="{box.width:.1f}" height="{BOX:.0f}" rx="4" '
        f'fill="{fill}" stroke="{stroke}"{dash}/>'
        f'<text x="{box.x + 9:.1f}" y="{box.y + 4:.1f}" fill="#1b2733"{font}>{escape(box.label)}</text></g>'
    )
