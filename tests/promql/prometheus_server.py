"""A real Prometheus on loopback: samples written by its remote write protocol, queries by HTTP.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec/ (version 1, protobuf, snappy).
"""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cramjam
import httpx

from streams.promql.frames import Floats, Ints, Labels

READY = b"Server is ready to receive web requests"

Found = dict[Labels, list[tuple[int, float]]]
"""What a query answers: samples (time in ms, value) by series, in the order of the answer."""


@dataclass(frozen=True)
class Refused:
    """The query was refused, with Prometheus' words."""

    message: str


class PrometheusServer:
    """One that scrapes nothing and takes remote writes; in a directory of its own."""

    def __init__(self, program: str, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        (directory / "prometheus.yml").write_text("global: {}\n")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address={address}",
                "--web.enable-remote-write-receiver",
                "--enable-feature=promql-at-modifier,promql-negative-offset",
            ],
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError(b"".join(said).decode())
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()
        self._client = httpx.Client(base_url=f"http://{address}", timeout=60)

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait()
        self._drain.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def write(self, series: Mapping[Labels, tuple[Ints, Floats]]) -> None:
        """All samples within an hour of each other: that much it takes in any order."""
        body = b"".join(
            _message(
                1,
                b"".join(
                    _message(1, _message(1, name.encode()) + _message(2, value.encode()))
                    for name, value in labels
                )
                + b"".join(
                    _message(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(int(at)))
                    for at, value in zip(at_ms, values, strict=True)
                ),
            )
            for labels, (at_ms, values) in series.items()
        )
        answer = self._client.post(
            "/api/v1/write",
            content=bytes(cramjam.snappy.compress_raw(body)),
            headers={"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"},
        )
        assert answer.status_code == 204, answer.text

    def instant(self, expr: str, at_ms: int) -> Found | Refused:
        return self._ask("query", {"query": expr, "time": f"{at_ms / 1000}"})

    def range(self, expr: str, start_ms: int, end_ms: int, step_ms: int) -> Found | Refused:
        times = {"start": start_ms, "end": end_ms, "step": step_ms}
        values = {name: f"{value / 1000}" for name, value in times.items()}
        return self._ask("query_range", {"query": expr, **values})

    def _ask(self, kind: str, form: Mapping[str, str]) -> Found | Refused:
        answer = self._client.post(f"/api/v1/{kind}", data=form).json()
        if answer["status"] == "error":
            assert answer["errorType"] in ("bad_data", "execution"), answer
            return Refused(answer["error"])
        result = answer["data"]["result"]
        if answer["data"]["resultType"] in ("scalar", "string"):
            result = [{"metric": {}, "value": result}]
        return {
            tuple(sorted(one["metric"].items())): [
                (round(at_s * 1000), float(value))
                for at_s, value in one.get("values", [one.get("value")])
            ]
            for one in result
        }


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _message(field: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([field << 3 | 2]) + _varint(len(body)) + body
