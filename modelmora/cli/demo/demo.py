"""`modelmora demo`: the whole path on this machine, from Kafka to an answer, in a minute."""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelmora.cli.demo import secondact
from modelmora.cli.demo.png import blocks, from_png
from modelmora.cli.demo.secondact import Painted, Seen, Written
from modelmora.cli.demo.showcase import Asker, Showcase, counts, ending_as_interrupt
from modelmora.cli.shared.options import JsonOption
from modelmora.cli.shared.output import data, print_json, say, talk, tell, tell_more
from modelmora.errors import ModelMoraError, Unreachable
from modelmora.host.face import own_command
from modelmora.host.runfile import RunInfo
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages import InferenceRequest, InferenceResult, Status, Tensor
from modelmora.registry.definitions import MINILM
from modelmora.settings import Settings
from modelmora.text import counted, duration, shorten
from modelmora.wire import encode_request, new_request_id

SENTENCES = (
    "You can reset a forgotten password from the sign-in page.",
    "Parcels within the country arrive in two to three working days.",
    "Unworn shoes can be sent back free of charge for thirty days.",
    "The invoice is attached to the mail that confirms your order.",
    "Our shop in the old town is open until eight on Saturdays.",
    "Gift cards never expire and can be used in several steps.",
    "If a product breaks within two years, we repair or replace it.",
    "We accept credit cards, bank transfer and payment on delivery.",
    "The rain jacket keeps you dry, but it is not made for snow.",
    "Wash woollen jumpers by hand in cold water, and dry them flat.",
    "Change the delivery address in your account before we ship.",
    "Two-step verification protects your account with a second code.",
)
QUESTION = "I cannot log in any more, what should I do?"
WARM_CALLS = 20
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Match:
    """A sentence and its cosine similarity to the question."""

    similarity: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo did; times in ms. `text` is None where `missing` is not installed."""

    model: str
    question: str
    matches: tuple[Match, ...]
    topics: dict[str, int]
    dead_letter: str
    ready_ms: float
    cold_ms: float
    cold_load_ms: float
    batch_ms: float
    warm_p50_ms: float
    text: Written | None = None
    seen: Seen | None = None
    painted: Painted | None = None
    missing: tuple[str, ...] = ()


def demo(json: JsonOption = False) -> None:
    """Start everything in a temporary folder, let four models answer, stop everything."""
    with ending_as_interrupt(), tempfile.TemporaryDirectory(prefix="modelmora-demo-") as folder:
        fetch_kafka()
        showcase = Showcase(Path(folder))
        missing = secondact.missing()
        secondact.prepare(showcase.data)
        began = time.perf_counter()
        try:
            say("starting Kafka, a node and a gateway ...")
            info = showcase.start(say)
            report = play(info, _since(began), missing, aloud=not json)
        finally:
            with doing("stopping everything"):
                showcase.stop()
    if json:
        print_json(asdict(report))
    else:
        for line in closing_lines(report):
            tell(line)


def play(info: RunInfo, ready_ms: float, missing: tuple[str, ...], *, aloud: bool) -> Report:
    """Both acts, the text unless something is missing; `aloud` what they show is printed."""
    settings = Settings(bootstrap_servers=info.bootstrap_servers)
    with doing(f"sending {len(SENTENCES)} sentences through Kafka, a question through REST"):
        report = run(info, settings, ready_ms)
    if aloud:
        for line in search_lines(report):
            tell(line)
    text = None
    if missing:
        say(f"to see a text written too: pip install {' '.join(missing)}")
    else:
        prompt = secondact.PROMPT.format(question=report.question, fact=report.matches[0].sentence)
        if aloud:
            tell(f"Answered with it by {secondact.NAME}, through Kafka, shown as it comes:")
        text = secondact.write(settings, prompt, tell_more if aloud else lambda _text: None)
    pictures = tuple(secondact.picture(*each.split()) for each in secondact.DRAWN)
    seen = secondact.judge(settings, secondact.DRAWN, pictures)
    if aloud:
        for line in picture_lines(seen):
            tell(line)
    painted = secondact.paint(settings)
    if aloud:
        show(painted)
    with Reader(settings) as counting:
        topics = counts(counting, settings)
    return replace(report, topics=topics, text=text, seen=seen, painted=painted, missing=missing)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A spinner on a terminal, a plain line elsewhere."""
    console = talk()
    if not console.is_terminal:
        say(f"{what} ...")
        yield
        return
    with console.status(what + " …"):
        yield


def fetch_kafka() -> None:
    """Have Kafka's jars here before anything is started, with progress the first time."""
    from modelmora.broker.jars import ensure_jars

    def progress(done: int, total: int) -> None:
        if done in (0, total) or done % 10 == 0:
            say(f"preparing Kafka, once only: {done} of {total}")

    ensure_jars(progress=progress)


def run(info: RunInfo, settings: Settings, ready_ms: float) -> Report:
    """The first act: ask the running instance, and measure. Its topics are not counted yet."""
    requests = [
        InferenceRequest(new_request_id(), MINILM.name, (sentence,)) for sentence in SENTENCES
    ]
    with Reader(settings) as reader:
        asker = Asker(settings, reader)
        first, *others = requests
        began = time.perf_counter()
        asker.send([encode_request(first)], MINILM.name)
        answers = asker.answers([first.request_id])
        cold_ms = _since(began)
        began = time.perf_counter()
        asker.send([encode_request(request) for request in others], MINILM.name)
        answers |= asker.answers([request.request_id for request in others])
        batch_ms = _since(began)
        broken = InferenceRequest(new_request_id(), MINILM.name, ("cut in the middle",))
        asker.send([encode_request(broken)[:-5]], MINILM.name)
        refused = asker.answers([broken.request_id])[broken.request_id]
        question, warm_p50_ms = ask_by_rest(info)
    vectors = [vector_of(answers[request.request_id]) for request in requests]
    return Report(
        model=MINILM.name,
        question=QUESTION,
        matches=tuple(rank(question, SENTENCES, vectors)),
        topics={},
        dead_letter=str(refused.error.code) if refused.error else "",
        ready_ms=ready_ms,
        cold_ms=cold_ms,
        cold_load_ms=answers[first.request_id].timings.load_ms,
        batch_ms=batch_ms,
        warm_p50_ms=warm_p50_ms,
    )


def ask_by_rest(info: RunInfo) -> tuple[list[float], float]:
    """The question's embedding, and the median time of further calls in ms."""
    if info.http is None:
        raise Unreachable("the instance has no gateway")
    import httpx

    spent = []
    with httpx.Client(base_url=info.http, timeout=60, trust_env=False) as client:
        for _ in range(1 + WARM_CALLS):
            began = time.perf_counter()
            answer = client.post(f"/infer/{MINILM.name}", json={"inputs": [QUESTION]})
            spent.append(_since(began))
            if not answer.is_success:
                raise ModelMoraError(f"the gateway answered {answer.status_code}: {answer.text}")
    vector: list[float] = answer.json()["outputs"][0]["data"][0]
    return vector, statistics.median(spent[1:])


def vector_of(result: InferenceResult) -> list[float]:
    """The one embedding in a result. Raises ModelMoraError where there is none."""
    if result.status is not Status.COMPLETED:
        reason = result.error.message if result.error else "no reason given"
        raise ModelMoraError(f"a sentence ended {result.status}: {reason}")
    output = result.outputs[0]
    if not isinstance(output, Tensor) or output.dtype != "FP32":
        raise ModelMoraError("the answer is not an FP32 tensor")
    numbers = array("f", output.data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine similarity; 0 where a vector has no direction."""
    norms = math.hypot(*a) * math.hypot(*b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def rank(
    question: Sequence[float], sentences: Sequence[str], vectors: Sequence[Sequence[float]]
) -> list[Match]:
    """The sentences, the most similar to the question first."""
    matches = [
        Match(cosine(question, vector), sentence)
        for sentence, vector in zip(sentences, vectors, strict=True)
    ]
    return sorted(matches, key=lambda match: -match.similarity)


def search_lines(report: Report) -> Iterator[str]:
    """What the first act found, for people, at most 80 columns wide."""
    yield ""
    yield f'Asked through REST:  "{report.question}"'
    yield f"Found among {len(report.matches)} sentences that went through Kafka ({report.model}):"
    for match in report.matches[:SHOWN]:
        yield f"  {match.similarity:5.2f}  {shorten(match.sentence, 70)}"
    yield ""


def picture_lines(seen: Seen) -> Iterator[str]:
    """What a model saw in pictures that were drawn for it, for people, at most 80 columns wide."""
    yield ""
    yield f"Pictures drawn here and sent through Kafka, and what {seen.model} says they show:"
    for drawn, label, score in zip(seen.drawn, seen.labels, seen.scores, strict=True):
        yield f"  {drawn:<16} {label} ({score:.0%})"


def show(painted: Painted) -> None:
    """What a model drew: in colour where the terminal has any, and where it is kept."""
    tell()
    tell(f'Asked of {painted.model}, through Kafka: "{painted.prompt}". It drew')
    console = data()
    if console.is_terminal and console.color_system:
        for line in blocks(from_png(Path(painted.file).read_bytes())):
            console.print("  ", line, sep="")
    tell(f"  {painted.file}")
    tell(f"which {secondact.JUDGE} says is a {painted.label} ({painted.score:.0%}).")


def closing_lines(report: Report) -> Iterator[str]:
    """What both acts left and took, for people, at most 80 columns wide."""
    yield ""
    yield "What is on the topics now:"
    told: dict[str, Any] = {
        str(Topic.NORMAL): "what was asked, one broken on purpose",
        str(Topic.RESULTS): "exactly one outcome for each of them",
        str(Topic.PROGRESS): "told to those who wait: accepted, parts of the text",
        str(Topic.DEAD_LETTERS): f"the broken one, byte for byte: {report.dead_letter}",
        str(Topic.EVENTS): "what happened to models and nodes",
        str(Topic.REGISTRY): "which models are served",
    }
    for topic, meaning in told.items():
        yield f"  {topic:<16} {report.topics.get(topic, 0):>5}  {meaning}"
    yield ""
    yield "How long it took:"
    yield f"  {duration(report.ready_ms):>8}  until Kafka, node and gateway were ready"
    yield (
        f"  {duration(report.cold_ms):>8}  first answer, of it {duration(report.cold_load_ms)} "
        "to load the model"
    )
    yield f"  {duration(report.batch_ms):>8}  the other {len(report.matches) - 1} sentences"
    yield f"  {duration(report.warm_p50_ms):>8}  a question through REST (median of {WARM_CALLS})"
    if text := report.text:
        yield (
            f"  {duration(text.first_ms):>8}  first words of the text, of it "
            f"{duration(text.load_ms)} to load the model"
        )
        parts = counted(text.chunks, "part")
        yield f"  {duration(text.total_ms):>8}  the whole text, told in {parts}"
    if seen := report.seen:
        yield (
            f"  {duration(seen.total_ms):>8}  {counted(len(seen.drawn), 'picture')} classified, "
            f"of it {duration(seen.load_ms)} to load the model"
        )
    if painted := report.painted:
        yield (
            f"  {duration(painted.total_ms):>8}  a picture drawn, of it "
            f"{duration(painted.load_ms)} to load the model"
        )
    yield ""
    command = own_command()
    yield "Everything is stopped again. To go on:"
    yield f"  {command} serve"
    yield "and in another terminal:"
    yield f'  {command} infer {report.model} "any text"'
    yield f"  {command} ps"
    yield "Look around with topics list, events, dlq list, trace REQUEST_ID, doctor."


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
