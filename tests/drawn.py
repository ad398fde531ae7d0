"""`python -m tests.drawn FILE`: a trace of one real request as a picture (SVG).

It starts a broker, a node and a gateway, asks once for a model that is in no memory, and draws what
a collector gets of that.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from html import escape
from pathlib import Path

from modelmora.client import Client, tracing
from modelmora.messages.traceparent import new_trace, trace_id_of
from tests.collectors import Seen, collecting

WIDTH, LEFT, ROW, TOP = 900, 290, 26, 46
SPANS = 8
STYLE = """
    svg { --ink: #2b1a27; --soft: #6d5a68; --gateway: #8a2a6b; --node: #2a6b8a; --line: #e3d3de; }
    @media (prefers-color-scheme: dark) {
      svg { --ink: #f3e7ef; --soft: #c9b3c2; --gateway: #e08fc4; --node: #8fc4e0; --line: #4a3644; }
    }
    text { font: 12.5px system-ui, sans-serif; fill: var(--ink); }
    .time { font-size: 11px; fill: var(--soft); } .mid { text-anchor: middle; }
    .line { stroke: var(--line); } .gateway { fill: var(--gateway); } .node { fill: var(--node); }
"""


def drawn(spans: Sequence[Seen]) -> str:
    """One row for each span: in the order of their causes, those of one cause as they began."""
    rows = list(_rows(spans))
    first = min(span.start_ns for span in spans)
    whole_ms = (max(span.end_ns for span in spans) - first) / 1e6
    height = TOP + ROW * len(rows) + 10

    def x(ns: int) -> float:
        return LEFT + (WIDTH - LEFT - 70) * (ns - first) / 1e6 / whole_ms

    parts = []
    for number in range(5):
        at, ms = x(first + int(whole_ms * 1e6 * number / 4)), whole_ms * number / 4
        parts.append(f'<path class="line" d="M{at:.1f} {TOP - 8}V{height - 8}"/>')
        parts.append(f'<text class="time mid" x="{at:.1f}" y="{TOP - 14}">{ms:.0f} ms</text>')
    for number, (depth, span) in enumerate(rows):
        y, left = TOP + ROW * number, x(span.start_ns)
        part = span.service.removeprefix("modelmora-")
        wide, ms = max(1.5, x(span.end_ns) - left), (span.end_ns - span.start_ns) / 1e6
        parts.append(f'<text x="{10 + 14 * depth}" y="{y + 13}">{escape(span.name)}</text>')
        bar = f'x="{left:.1f}" y="{y + 2}" width="{wide:.1f}" height="14" rx="2"'
        parts.append(f'<rect class="{escape(part)}" {bar}/>')
        told = f'x="{left + wide + 5:.1f}" y="{y + 13}"'
        parts.append(f'<text class="time" {told}>{ms:.1f} ms</text>')
    legend = (
        '<rect class="gateway" x="10" y="12" width="12" height="12" rx="2"/>'
        '<text x="27" y="22">gateway</text>'
        '<rect class="node" x="90" y="12" width="12" height="12" rx="2"/>'
        '<text x="107" y="22">node</text>'
    )
    title = f"One request as a trace: {', '.join(span.name for _, span in rows)}"
    head = f'<title id="t">{escape(title)}</title>\n  <style>{STYLE}  </style>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="t">\n  ' + "\n  ".join([head, legend, *parts]) + "\n</svg>\n"
    )


def _rows(spans: Sequence[Seen]) -> Sequence[tuple[int, Seen]]:
    known = {span.id for span in spans}

    def below(parent: str, depth: int) -> list[tuple[int, Seen]]:
        mine = [each for each in spans if (each.parent if each.parent in known else "") == parent]
        found = []
        for each in sorted(mine, key=lambda span: span.start_ns):
            found += [(depth, each), *below(each.id, depth + 1)]
        return found

    return below("", 0)


def real() -> list[Seen]:
    """The spans of one request for a model that is loaded for it."""
    from modelmora.broker import EmbeddedBroker
    from tests.nodes import GatewayProcess, NodeProcess
    from tests.programs import eventually

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(EmbeddedBroker(folder / "broker"))
        collector = stack.enter_context(collecting())
        told = {"TRACING__ENDPOINT": collector.address, "NAMESPACE": "modelmora"}
        where = broker.bootstrap_servers, "modelmora", folder
        node = stack.enter_context(NodeProcess(*where, settings=told))
        gateway = stack.enter_context(GatewayProcess(*where, told))
        trace = new_trace(sampled=True)
        with Client(gateway.grpc) as client, tracing(trace):
            client.infer("echo", [uuid.uuid4().hex], timeout_s=60)

        def spans() -> list[Seen]:
            return [span for span in collector.spans if span.trace == trace_id_of(trace)]

        eventually(lambda: len(spans()) >= SPANS, "the spans")
        assert node.running
        return spans()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(drawn(real()))
