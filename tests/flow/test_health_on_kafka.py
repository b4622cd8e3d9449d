"""Health checks on a real Kafka: one worker at a time looks at a target, another when that dies."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from mcp_api.watching import configured_targets
from streams.config import load_settings
from streams.events.catalogue import Envelope, Event, EventData
from streams.events.codec import decode, encode
from streams.events.health import HealthChanged, HealthChecked, RegisterTarget
from streams.events.topics import COMMANDS, HEALTH_RESULTS
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry
from streams.processors.commands_targets import CONFIGURATION
from streams.processors.health import HealthProcessor
from tests.flow.alert_ledger import made, records, stored
from tests.flow.kafka_fleet import Child, until

FAR_S = 90.0
PARTITIONS = 3
INTERVAL_MS = 4_000
NAMES = [f"shop-{number}" for number in range(6)]
"""In all three partitions of the results."""


class _Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def shop() -> Iterator[str]:
    """The URL of a server that is always well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Well) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(FAR_S)


def looked_at(worker: Child) -> int:
    """How many targets a worker says that it looks at."""
    with suppress(httpx.HTTPError):
        for line in httpx.get(f"{worker.url}/metrics", timeout=5).text.splitlines():
            if line.startswith("logfire_mcp_prober_targets "):
                return int(float(line.split()[1]))
    return 0


def told(log: KafkaLog) -> list[EventData]:
    """All of the results, partition by partition."""
    return [
        decode(record.headers, record.body).data
        for number in range(PARTITIONS)
        for record in records(log, HEALTH_RESULTS, number)
    ]


def slots(log: KafkaLog) -> Counter[tuple[str, int]]:
    """How often each target was looked at in each of its intervals."""
    return Counter(
        (each.target, (each.at_ms - zlib.crc32(each.target.encode())) // INTERVAL_MS)
        for each in told(log)
        if isinstance(each, HealthChecked)
    )


def test_a_target_moves_to_another_worker_when_its_own_is_killed(
    tmp_path: Path, kafka: str, kafka_prefix: str
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(shop())
        file = tmp_path / "targets.toml"
        lines = (f'{name} = {{endpoint = "{url}/{name}", interval = "4s"}}' for name in NAMES)
        file.write_text("\n".join(["[targets]", *lines]))
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA_TOPIC_PREFIX": kafka_prefix,
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "KAFKA_SESSION_TIMEOUT": "1",  # it is moved before two intervals are over
            "DEFAULT_TARGETS": "off",
            "HEALTH_TARGETS": str(file),
        }
        settings = load_settings(variables)
        config = settings.kafka()
        assert config is not None
        log = stack.enter_context(closing(KafkaLog.open(config)))
        workers = [Child(f"worker-{n}", ["worker"], variables, tmp_path) for n in range(2)]
        for worker in workers:
            worker.start()
            stack.callback(worker.stop)
        for number, target in enumerate(configured_targets(settings).targets.values()):
            envelope = Envelope(f"test/{number}", "test", 0, actor=CONFIGURATION)
            entry = Entry(COMMANDS, 0, encode(Event(envelope, RegisterTarget(target))))
            log.submit(Append((entry,))).result(FAR_S)

        def shared(among: list[Child]) -> bool:
            had = [looked_at(worker) for worker in among]
            return sum(had) == len(NAMES) and all(had)

        def looked_at_again(rounds: int) -> bool:
            found = Counter(name for name, _ in slots(log))
            return all(found[name] >= rounds for name in NAMES)

        until(lambda: shared(workers), FAR_S, "the targets are not shared out")
        shared_out = slots(log)
        until(lambda: looked_at_again(2), FAR_S, "they are not looked at")
        before = slots(log)
        workers[0].kill()
        until(lambda: shared(workers[1:]), FAR_S, "nobody has those of the dead worker")
        taken_over = slots(log)
        most = max(slot for _, slot in taken_over) + 2
        until(lambda: max(s for _, s in slots(log)) >= most, FAR_S, "they are not looked at")
        after = slots(log)
        settled = [before[slot] for slot in before.keys() - shared_out.keys()]
        settled += [after[slot] for slot in after.keys() - taken_over.keys()]
        assert set(settled) == {1}, "two workers looked at one"
        turns = [each for each in told(log) if isinstance(each, HealthChanged)]
        assert sorted((each.target, each.after) for each in turns) == [
            (name, "healthy") for name in NAMES
        ]
        assert workers[1].stop() == 0
        for number in range(PARTITIONS):
            processor = HealthProcessor(PARTITIONS)
            assert stored(log, processor, number) == made(log, processor, number)
