"""`sleepctl deadletters`: what was set aside, and putting it back."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import Progress as ProgressBar

from schemas.cloudevents import MAX_BYTES
from schemas.errors import describe
from schemas.settings import Settings
from sleepctl.errors import WRONG_SETTINGS, CommandError, settings_or_fail
from sleepctl.process import run
from sleepctl.show import Json, clock, console, print_json

if TYPE_CHECKING:
    from sleepctl.reader import TopicReader
    from worker.outputs import Outputs
    from worker.ports import Output
    from worker.recovery.redrive import DeadLetter

_SHOWN: Final = 100
_PAGE_RECORDS: Final = 10_000
_PAGE_BYTES: Final = 16 << 20
app = typer.Typer(help="List the records that were set aside, or put them back.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="The last so many.")] = _SHOWN,
    code: Annotated[str | None, typer.Option(help="Only those with this code.")] = None,
    json: Json = False,
) -> None:
    """List dead letters, the latest last."""
    settings = settings_or_fail()
    found = run(_latest(settings, limit, lambda letter: code in (None, letter.code)))
    if json:
        print_json([_shown(letter) for letter in found])
        return
    out = console()
    for letter in found:
        key = "no key" if letter.key is None else f"key {letter.key[:128].decode(errors='replace')}"
        # The last line of a traceback says what it was.
        message = (letter.message.splitlines() or [""])[-1]
        out.print(
            f"{letter.place}  {clock(letter.at)}  {letter.topic} {letter.partition}:{letter.offset}  {key}, "
            f"{letter.size} bytes  {letter.code}: {message}"
        )
    if not found:
        out.print("no dead letters" if code is None else f"no dead letters with the code {code}")


@app.command()
def redrive(
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: one, by its place in `list`.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="See --partition.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    code: Annotated[str | None, typer.Option(help="With --all: only those with this code.")] = None,
    json: Json = False,
) -> None:
    """Put records back on the topic that they came from.

    Those of one key keep their order. Once put back they are new records of the log; a second time they are put back
    a second time. A repeated command is refused as such and a repeated breaker event is stale or a renewal.
    """
    one = partition is not None and offset is not None
    if one == all_ or (partition is None) != (offset is None) or (code is not None and not all_):
        raise CommandError(
            "name one by --partition and --offset, or --all of them, perhaps of one --code", WRONG_SETTINGS
        )
    settings = settings_or_fail()
    place = f"{partition}:{offset}"

    def chosen(letter: "DeadLetter") -> bool:
        return letter.place == place if one else code in (None, letter.code)

    sent, refused = run(_redrive(settings, chosen))
    if json:
        print_json({"redriven": sent, "refused": [{"place": place, "reason": why} for place, why in refused]})
    else:
        for place_, why in refused:
            console().print(f"{place_} stays: {why}")
        console().print(f"{len(sent)} records were put back, in their order")
    if refused or not sent:
        raise CommandError(
            f"{len(refused)} dead letters could not be put back" if refused else "there is no such dead letter"
        )


def _shown(letter: "DeadLetter") -> dict[str, Any]:
    shown = letter._asdict()
    del shown["value"], shown["headers"]
    return shown | {
        "key": None if letter.key is None else letter.key[:1024].decode(errors="replace"),
        "cut": letter.cut,
    }


async def _letters(settings: Settings) -> "AsyncIterator[DeadLetter]":
    """Yield all dead letters, with a progress bar."""
    # Kafka's client is not loaded by commands that do without it.
    from sleepctl.reader import TopicReader  # noqa: PLC0415
    from worker.recovery.redrive import DeadLetter  # noqa: PLC0415

    topic, errors = settings.topics.deadletter, console(stderr=True)
    with ProgressBar(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        async with TopicReader(settings) as reader:
            bounds = await reader.bounds(topic)
            task = bar.add_task("dead letters", total=sum(end - start for start, end in bounds.values()))
            for number, (start, end) in bounds.items():
                async for page in reader.read(topic, number, start, end, lambda more: bar.advance(task, more)):
                    for record in page:
                        try:
                            yield DeadLetter.of(record)
                        except ValueError as error:
                            errors.print(f"passed over: {error}")


async def _latest(settings: Settings, limit: int, wanted: "Callable[[DeadLetter], bool]") -> "list[DeadLetter]":
    """Return the last dead letters of each partition, by time; of a flood no more than that is held."""
    latest: dict[str, deque[DeadLetter]] = {}
    async for letter in _letters(settings):
        if wanted(letter):
            latest.setdefault(letter.place.partition(":")[0], deque(maxlen=limit)).append(letter)
    found = sorted((letter for letters in latest.values() for letter in letters), key=lambda letter: letter.at)
    return found[-limit:]


def _pages(letters: "Iterable[DeadLetter]") -> "Iterator[list[DeadLetter]]":
    """Yield dead letters page by page; the values of a page fit in memory."""
    page: list[DeadLetter] = []
    size = 0
    for letter in letters:
        page.append(letter)
        size += min(letter.size, MAX_BYTES)
        if len(page) >= _PAGE_RECORDS or size >= _PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


async def _whole(reader: "TopicReader", topic: str, page: "list[DeadLetter]") -> "dict[str, DeadLetter]":
    """Return the dead letters of a page by their places, read again with keys and values."""
    from worker.recovery.redrive import DeadLetter  # noqa: PLC0415 - as above

    offsets: dict[int, set[int]] = {}
    for letter in page:
        partition, _, offset = letter.place.partition(":")
        offsets.setdefault(int(partition), set()).add(int(offset))
    found: dict[str, DeadLetter] = {}
    for number, wanted in offsets.items():
        async for records in reader.read(topic, number, min(wanted), max(wanted) + 1):
            for record in records:
                if record.offset in wanted:
                    letter = DeadLetter.of(record)
                    found[letter.place] = letter
    return found


async def _send(
    settings: Settings, outputs: "Outputs", whole: "dict[str, DeadLetter]"
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Put dead letters back, in their order; return as `_redrive`."""
    from worker.recovery.redrive import put_back  # noqa: PLC0415 - as above

    events = settings.topics.events
    sources = {events, *(ingress.topic for ingress in settings.ingress_topics)}
    sent: list[dict[str, Any]] = []
    refused: list[tuple[str, str]] = []
    batches: dict[tuple[str, int], list[Output]] = {}
    for place, letter in whole.items():
        back = put_back(letter, events, settings.partitions, sources)
        if isinstance(back, str):
            refused.append((place, back))
            continue
        sent.append({"place": place, "topic": back.topic, "partition": back.partition})
        batches.setdefault((back.topic, back.partition), []).append(back.output)
    for (topic, partition), records in batches.items():
        await outputs.send(topic, partition, records)
    return sent, refused


async def _redrive(
    settings: Settings, chosen: "Callable[[DeadLetter], bool]"
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Put dead letters back; return where each went, and the place of each that stays with the reason.

    The order is found first, without keys and values: of those there may be more than memory has room for.
    """
    from sleepctl.reader import TopicReader  # noqa: PLC0415 - as above
    from worker.outputs import Outputs  # noqa: PLC0415
    from worker.ports import OutputError  # noqa: PLC0415
    from worker.recovery.redrive import in_order  # noqa: PLC0415

    letters = [
        letter._replace(message="", key=None, value=None, headers=())
        async for letter in _letters(settings)
        if chosen(letter)
    ]
    sent: list[dict[str, Any]] = []
    refused: list[tuple[str, str]] = []
    outputs = Outputs(settings)
    try:
        await outputs.start()
        async with TopicReader(settings) as reader:
            for page in _pages(in_order(letters)):
                found = await _whole(reader, settings.topics.deadletter, page)
                places = [letter.place for letter in page]
                refused += ((place, "it is no longer there") for place in places if place not in found)
                back, stay = await _send(settings, outputs, {place: found[place] for place in places if place in found})
                sent += back
                refused += stay
    except (OutputError, OSError, CommandError) as error:
        told = str(error) if isinstance(error, CommandError) else describe(error)
        raise CommandError(
            f"Kafka did not take all of them: {told}; {len(sent)} are back, and perhaps some more: look at their topic "
            "before you put them back again"
        ) from None
    finally:
        await outputs.stop()
    return sent, refused
