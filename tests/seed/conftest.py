"""One real server for all the seed's promises."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.api.processes import serving
from tests.flow.receiving import PASSWORD, USER, certificate, smtp_server
from tests.seed.served import Served, until


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As it comes, but for its port, a quick clock, and a mail server that is told of alerts."""
    folder = tmp_path_factory.mktemp("seed")
    with smtp_server(folder, tls="starttls") as mail:
        to = f"to=ops@example.org&from=alerts@example.org&ca={certificate(folder)}"
        url = f"smtp://{USER}:${{MAIL_PASSWORD}}@{mail.url}/?{to}"
        receivers = {
            "receivers": {"ops": {"kind": "email", "url": url}},
            "route": {"receiver": "ops", "group_wait": "1s"},
        }
        with (
            serving(
                folder / "data",
                DEFAULT_TARGETS="on",
                METRICS_COLLECTION_INTERVAL="30",
                HEALTH_ALLOWED_NETWORKS="127.0.0.0/8,::1/128",
                ALERT_RECEIVERS=json.dumps(receivers),
                MAIL_PASSWORD=PASSWORD,
            ) as (_, found),
            httpx.Client(base_url=found.url, timeout=60) as client,
        ):
            served = Served(folder / "data", found, mail, client)
            until(lambda: "magic-mcp" in served.targets(), "the default targets are registered")
            yield served
