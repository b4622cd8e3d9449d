"""One or three real Kafka brokers on free ports of loopback, without Docker.

``python -m tests.kafka_cluster --brokers 3`` starts them and runs until Ctrl-C. Java 17 or newer
and Maven are needed: the jars come from Maven Central once, into the user's cache directory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

T = TypeVar("T")

VERSION = os.environ.get("KAFKA_TEST_VERSION", "4.1.0")
PROGRAMS = {"java": "install a Java runtime, 17 or newer", "mvn": "install Apache Maven"}
START_TIMEOUT_S = 90.0
FETCH_TIMEOUT_S = 600.0

_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""
_JAVA = ("-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

# The broker lives no longer than whoever started it: the shell's standard input is a pipe from
# there, so it ends with it, whatever happened. A killed broker's id is not given to another process
# before the shell, its parent, has ended.
_LEASH = '"$@" </dev/null & echo $!; read -r _; kill -9 $! 2>/dev/null'

_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "2",
    "log.index.size.max.bytes": "1048576",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "1",
}


def missing_program() -> str | None:
    """What has to be installed first, as a sentence; None where everything is there."""
    for program, how in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed: {how}"
    return None


def jars() -> Path:
    """The directory of the broker's jars, fetched on the first call; several may call at once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "logfire-mcp-tests" / f"kafka-{VERSION}"
    if home.is_dir():
        return home
    if reason := missing_program():
        raise RuntimeError(reason)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as fetched:
        pom = Path(fetched, "pom.xml")
        pom.write_text(_POM.format(version=VERSION))
        command = ["mvn", "--batch-mode", "--quiet", "-f", str(pom), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}/libs"]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
        if ended.returncode != 0:
            raise RuntimeError(f"mvn could not fetch Kafka {VERSION}: {ended.stdout[-2000:]}")
        with suppress(OSError):  # somebody else was quicker
            Path(fetched, "libs").rename(home)
    return home


@dataclass
class _Broker:
    number: int
    port: int
    home: Path
    shell: subprocess.Popen[str] | None = None
    pid: int = 0


class Cluster:
    """Running brokers, numbered from 1; each is broker and controller.

    ``data``: where they keep everything, left there at the end; a temporary directory by default.
    ``port``: of the first broker, the others follow; free ones by default.
    ``properties``: broker settings beside or instead of the usual ones; in each value ``{port}`` is
    the broker's own.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        data: Path | None = None,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._libs = jars()
        self._properties = dict(properties or {})
        self._temporary = data is None
        self._data = data or Path(tempfile.mkdtemp(prefix="kafka-"))
        ports = _free_ports(2 * brokers)
        if port is not None:
            ports[:brokers] = range(port, port + brokers)
        self._controllers = ports[brokers:]
        self._brokers = [
            _Broker(i + 1, ports[i], self._data / f"broker-{i + 1}") for i in range(brokers)
        ]
        try:
            with ThreadPoolExecutor(brokers) as together:
                cluster_id = self._cluster_id()
                list(together.map(lambda broker: self._format(broker, cluster_id), self._brokers))
            for broker in self._brokers:
                self._launch(broker)
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def bootstrap(self) -> str:
        """What clients connect to: every broker's address, comma-separated."""
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self._brokers)

    def pid(self, number: int) -> int:
        """The process id of a broker."""
        return self._broker(number).pid

    def kill(self, number: int) -> None:
        """kill -9: nothing is flushed, nobody is told."""
        self._end(self._broker(number), signal.SIGKILL, timeout_s=30)

    def restart(self, number: int, *, wait: bool = True) -> None:
        """Starts a killed broker on its data and port; ``wait``: until all that live are ready."""
        broker = self._broker(number)
        assert broker.shell is None, "it runs"
        self._launch(broker)
        if wait:
            self.wait_until_ready()

    def pause(self, number: int) -> None:
        """The process stands still; its connections stay open."""
        os.kill(self.pid(number), signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Ends a pause."""
        os.kill(self.pid(number), signal.SIGCONT)

    def stop(self, *, gently: bool = False) -> None:
        """Ends every broker; ``gently`` with SIGTERM. A second call is fine."""
        for broker in self._brokers:
            if broker.shell is not None:
                with suppress(ProcessLookupError):
                    os.kill(broker.pid, signal.SIGCONT)
                    os.kill(broker.pid, signal.SIGTERM if gently else signal.SIGKILL)
        for broker in self._brokers:
            if broker.shell is not None:
                self._end(broker, 0 if gently else signal.SIGKILL, timeout_s=20)
        if self._temporary:
            shutil.rmtree(self._data, ignore_errors=True)

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when every running broker knows every other and takes requests."""
        running = [broker for broker in self._brokers if broker.shell is not None]
        waiting = list(running)
        deadline = time.monotonic() + timeout_s
        while waiting:
            for broker in running:
                if not _is_running(broker.pid):
                    raise RuntimeError(f"broker {broker.number} ended:\n{self.output(broker)}")
            waiting = [b for b in waiting if _brokers_seen(b.port) < len(running)]
            if waiting and time.monotonic() > deadline:
                late = waiting[0]
                raise RuntimeError(f"broker {late.number} is not ready:\n{self.output(late)}")
            threading.Event().wait(0.1 if waiting else 0)

    def output(self, broker: _Broker) -> str:
        """The end of what a broker wrote."""
        return (broker.home / "output").read_text(errors="replace")[-4000:]

    def _broker(self, number: int) -> _Broker:
        return self._brokers[number - 1]

    def _cluster_id(self) -> str:
        """Made once a data directory."""
        kept = self._data / "cluster-id"
        if not kept.exists():
            self._data.mkdir(parents=True, exist_ok=True)
            made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            kept.write_text(made.replace("-", "A"))  # a first one would be taken for an option
        return kept.read_text()

    def _settings(self, broker: _Broker) -> dict[str, str]:
        controller = self._controllers[broker.number - 1]
        copies = str(len(self._brokers))
        voters = (f"{i + 1}@127.0.0.1:{port}" for i, port in enumerate(self._controllers))
        settings = {
            **_COMMON,
            "node.id": str(broker.number),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(broker.home / "data"),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "2" if len(self._brokers) > 2 else "1",
        }
        for name, value in self._properties.items():
            text = value.replace("{port}", str(broker.port))
            settings[name] = text.replace("{controller}", str(controller))
        return settings

    def _format(self, broker: _Broker, cluster_id: str) -> None:
        broker.home.mkdir(parents=True, exist_ok=True)
        file = broker.home / "server.properties"
        settings = self._settings(broker)
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        command = self._java("kafka.tools.StorageTool", "format", "--ignore-formatted")
        command += ["-t", cluster_id, "-c", str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"formatting broker {broker.number}: {ended.stdout}{ended.stderr}")

    def _launch(self, broker: _Broker) -> None:
        command = self._java("kafka.Kafka", str(broker.home / "server.properties"))
        with (broker.home / "output").open("a") as output:
            broker.shell = subprocess.Popen(
                ["/bin/sh", "-c", _LEASH, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,  # a Ctrl-C is for whoever started it
            )
        assert broker.shell.stdout is not None
        broker.pid = int(broker.shell.stdout.readline())

    def _end(self, broker: _Broker, number: int, *, timeout_s: float) -> None:
        """Signals a broker, waits for its end, then lets its shell go."""
        shell = broker.shell
        assert shell is not None, "it does not run"
        assert shell.stdin is not None
        assert shell.stdout is not None
        with suppress(ProcessLookupError):
            if number != 0:
                os.kill(broker.pid, number)
        deadline = time.monotonic() + timeout_s
        while _is_running(broker.pid) and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        shell.stdin.close()
        shell.wait(timeout_s)
        shell.stdout.close()
        broker.shell = None

    def _java(self, program: str, *arguments: str) -> list[str]:
        return ["java", *_JAVA, "-cp", f"{self._libs}/*", program, *arguments]


def delete_topics(bootstrap: str, prefix: str) -> None:
    """Those whose names begin so; returns when the broker has taken it."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            topics = await admin.list_topics()
            await admin.delete_topics([topic for topic in topics if topic.startswith(prefix)])
        finally:
            await admin.close()

    _run_apart(delete())


def _run_apart(work: Coroutine[Any, Any, T]) -> T:
    """In a thread, since the caller may have a loop of its own."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, work).result()


def _free_ports(count: int) -> list[int]:
    """Free now; each bound once, so that no two are the same."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _is_running(pid: int) -> bool:
    """False also for one that has ended and that its shell has not waited for."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _brokers_seen(port: int) -> int:
    """How many brokers the one at ``port`` knows; 0 where it does not answer."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return _run_apart(_describe(port))
    return 0


async def _describe(port: int) -> int:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=3_000, metadata_max_age_ms=300_000
    )
    try:
        async with asyncio.timeout(5):
            await admin.start()
            return len((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return 0
    finally:
        with suppress(Exception):
            await admin.close()


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka_cluster", description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--port", type=int, default=9092, help="of the first broker")
    parser.add_argument("--data", type=Path, help="kept between runs; by default nothing is kept")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    if reason := missing_program():
        print(reason, file=sys.stderr)
        return 1
    print(f"Starting {options.brokers} Kafka {VERSION} broker(s) ...", flush=True)
    cluster = Cluster(options.brokers, data=options.data, port=options.port)
    try:
        print(f"Ready at {cluster.bootstrap}. In the shells that are to use it:\n")
        print(f"  export KAFKA_BOOTSTRAP_SERVERS={cluster.bootstrap}\n")
        print("Ctrl-C ends it.", flush=True)
        ended.wait()
    finally:
        cluster.stop(gently=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
