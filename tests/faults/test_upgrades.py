"""The release before and this one together under load, and on what the other has left behind."""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack, closing
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest
from fastavro import parse_schema, schemaless_writer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.foreign import LANES, Draft, Foreign
from tests.integration.test_nodes import Yard
from tests.nodes import GatewayProcess, Observer, Program
from tests.programs import ROOT, eventually
from tests.releases import installed, last_release, variables
from tests.single_object import header

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
CAP_S = 180.0
ENOUGH = 20
"""So many more answers to each kind of caller tell that two releases work together."""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages of the release before lie."""
    commit = last_release()
    if commit is None:
        pytest.skip("this clone has no history: fetch it with `git fetch --unshallow --tags`")
    return installed(commit, tmp_path_factory.mktemp("before"))


class Load:
    """Callers of REST, who try the next gateway where one does not answer; and old producers."""

    def __init__(self, yard: Yard, gateways: list[GatewayProcess], schema: Path) -> None:
        self._yard, self._gateways = yard, gateways
        self._source = json.loads(schema.read_text())
        self._schema = parse_schema(json.loads(schema.read_text()))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._ask, self._produce)]
        self.faults: list[str] = []
        self.answered = 0
        self.ids: list[str] = []

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def value(self, request_id: str) -> bytes:
        """A request as the release before writes it."""
        stream = BytesIO()
        datum = {"request_id": request_id, "model": "echo", "inputs": ["x"]}
        schemaless_writer(stream, self._schema, datum)
        return header(self._source) + stream.getvalue()

    def _produce(self) -> None:
        with Foreign(self._yard.servers, self._yard.ids, self._yard.namespace) as foreign:
            for lane in cycle(LANES):
                request_id = str(uuid4())
                foreign.send(lane, Draft(request_id, os.urandom(4), self.value(request_id)))
                foreign.flush()
                self.ids.append(request_id)
                if self._over.wait(0.05):
                    return

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            text = f"{self.answered}"
            said = self._one(text)
            if said.get("outputs") == [text]:
                self.answered += 1
            else:
                self.faults.append(f"{text}: {said}")

    def _one(self, text: str) -> Any:
        """Asked of one gateway after the other under one id, as whoever stands before several."""
        body, headers = {"inputs": text}, {"x-request-id": str(uuid4())}
        said: Any = None
        for gateway in self._gateways * 3:
            try:
                said = httpx.post(
                    f"{gateway.http}/infer/echo", json=body, headers=headers, timeout=60
                )
            except (httpx.TransportError, KeyError) as error:
                said = repr(error)
                continue
            if said.status_code not in (502, 503):
                break
            said = said.text
        return {"fault": said} if isinstance(said, str) else said.json()


def again(program: Program, release: Path) -> None:
    """The same process with what it has kept, of another release."""
    assert program.stop() == 0, program.tail()
    program.cwd = release
    program.start().wait_ready()


def together(load: Load) -> None:
    """Wait until some more requests of each kind are through."""
    asked, sent = load.answered + ENOUGH, len(load.ids) + ENOUGH

    def enough() -> bool:
        assert load.faults == []
        return load.answered >= asked and len(load.ids) >= sent

    eventually(enough, "answers", CAP_S)


def test_up_and_down_under_load(
    before: Path, broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """Nodes, then gateways, and back the other way: nothing is lost, nobody is refused."""
    yard = Yard(broker, namespace, tmp_path)
    nodes = [yard.node(name) for name in ("n1", "n2")]
    gateways = [GatewayProcess(yard.servers, namespace, tmp_path / name) for name in ("g1", "g2")]
    up, down = [*nodes, *gateways], [*gateways, *nodes]
    with ExitStack() as stack:
        for each in up:
            each.log.parent.mkdir(exist_ok=True)
            each.cwd = before
            each.forget(variables(before))
            stack.enter_context(each)
        seen = stack.enter_context(closing(Observer(yard.servers, namespace)))
        schema = before / "modelmora" / "schemas" / "inference_request.avsc"
        with Load(yard, gateways, schema) as load:
            together(load)
            for program in up:
                again(program, ROOT)
                together(load)
            for program in down:
                again(program, before)
                together(load)
        assert load.faults == []
        seen.ended_once(load.ids)
        ended = {each.status for request_id in load.ids for each in seen.results[request_id]}
        assert ended == {Status.COMPLETED}
        assert [each.stop() for each in down] == [0] * len(down)
        print(f"{load.answered} answers over REST, {len(load.ids)} over topics")
