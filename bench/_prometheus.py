"""A real Prometheus on loopback that already holds some samples on disk, as blocks."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import psutil

from bench._samples import Scrapes, in_time

FAR_S = 120
WRITE_MS = 300_000
_SAMPLE = np.dtype([("head", "S3"), ("value", "<f8"), ("at", "S1"), ("at_ms", "S6")])


class Prometheus:
    """One that scrapes nothing."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def rss_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)


@contextmanager
def holding(metrics: list[Scrapes], folder: Path) -> Iterator[Prometheus]:
    """Remote writes, a snapshot of what was written, and a fresh Prometheus on the snapshot."""
    with _running(folder / "written") as writing:
        _write(writing.port, metrics)
        asked = f"http://127.0.0.1:{writing.port}/api/v1/admin/tsdb/snapshot"
        with urllib.request.urlopen(asked, b"", FAR_S) as answer:
            name = json.load(answer)["data"]["name"]
    with _running(folder / "written" / "snapshots" / name) as serving:
        yield serving


@contextmanager
def _running(data: Path) -> Iterator[Prometheus]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as temporary:
        config = Path(temporary) / "prometheus.yml"
        config.write_text("global: {}\n")
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-remote-write-receiver",
                "--web.enable-admin-api",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            until_ready(port, "/-/ready")
            yield Prometheus(process, port)
        finally:
            process.terminate()
            process.wait(timeout=FAR_S)


def until_ready(port: int, path: str) -> None:
    """Returns when the server answers 200 there."""
    for _ in range(FAR_S * 5):
        with suppress(OSError):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=FAR_S)
            client.request("GET", path)
            if client.getresponse().status == 200:
                return
            client.close()
        time.sleep(0.2)
    raise RuntimeError(f"nobody was ready at port {port} within {FAR_S} s")


def _write(port: int, metrics: list[Scrapes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=FAR_S)
    heads = {
        metric.labels: [
            b"".join(
                _message(1, _message(1, name.encode()) + _message(2, value.encode()))
                for name, value in labels
            )
            for labels in metric.labels
        ]
        for metric in metrics
    }
    for some in in_time(metrics, WRITE_MS):
        series = zip(heads[some.labels], _samples(some), strict=True)
        body = b"".join(_message(1, head + rows.tobytes()) for head, rows in series)
        connection.request(
            "POST",
            "/api/v1/write",
            bytes(cramjam.snappy.compress_raw(body)),
            {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"},
        )
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 204:
            raise RuntimeError(f"Prometheus answered {answer.status}: {text[:500]!r}")
    connection.close()


def _samples(some: Scrapes) -> Any:
    """[series, scrapes] Samples as protobuf; times of our days take six bytes."""
    rows = np.zeros(some.value.T.shape, _SAMPLE)
    rows["head"] = b"\x12\x10\x09"
    rows["value"] = some.value.T
    rows["at"] = b"\x10"
    rows["at_ms"] = [_varint(int(at)) for at in some.at_ms]
    return rows


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _message(field: int, body: bytes) -> bytes:
    return struct.pack("B", field << 3 | 2) + _varint(len(body)) + body
