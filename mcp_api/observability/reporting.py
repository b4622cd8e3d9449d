"""Logfire's SDK set up for this process, from the settings, and spans switched on.

Where neither a token nor an endpoint is set, nothing of it is imported, no thread is started and no
connection opened.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from mcp_api.observability.destinations import (
    destinations,
    is_configured,
    logfire_url,
    otel_variables,
)
from streams import tracing
from streams.config import Settings

FLUSH_S: Final = 2.0
"""For the last spans, when the process ends."""

PROJECT: Final = "logfire.project_name"

_made = False
"""Whether this process' provider is ours, also from a server before."""


def report(settings: Settings) -> Callable[[], None]:
    """Spans go to the configured destinations until the function that is returned is called.

    A program that has set up OpenTelemetry already, and embeds this server, keeps its own set-up,
    and gets the spans. `ConfigError` where the standard's variables ask for what is not done.
    """
    if not is_configured(settings):
        return _nothing
    destinations(settings)  # what is wrong with the variables is told at the start
    # Late: together half a second and 20 MB.
    import logfire
    from opentelemetry import trace

    from mcp_api.observability.spans import OtelTracer

    global _made  # noqa: PLW0603 - there is one provider a process, set once
    _made = _made or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    ours = _made
    if ours:
        _configure(settings)
    tracing.install(OtelTracer())

    def stop() -> None:
        tracing.install(None)
        if ours:
            # In a thread, since it keeps to no time where nobody answers.
            last = threading.Thread(target=logfire.shutdown, name="last-spans", daemon=True)
            last.start()
            last.join(FLUSH_S)
            provider = getattr(trace.get_tracer_provider(), "provider", None)
            if last.is_alive() and provider is not None:
                atexit.unregister(provider.shutdown)  # it would wait for the same once more

    return stop


def resource(settings: Settings) -> dict[str, str]:
    """What is said of this process with points and firings; spans say more."""
    given = {
        "service.name": settings.logfire_service_name,
        "service.version": version("logfire-mcp-server"),
        "deployment.environment.name": settings.environment,
        PROJECT: settings.logfire_project_name,
    }
    return {name: value for name, value in given.items() if value}


def _configure(settings: Settings) -> None:
    import logfire

    for name, value in otel_variables().items():
        os.environ.setdefault(name, value)  # the SDKs read no .env
    # They tell every failed export with a traceback; the status says what is the matter.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    token = settings.logfire_token
    project = settings.logfire_project_name
    base_url = None if token is None else logfire_url(token, settings.logfire_base_url)
    logfire.configure(
        # Without a token not even a .logfire folder of the working directory counts.
        send_to_logfire=False if token is None else "if-token-present",
        token=token,
        service_name=settings.logfire_service_name,
        service_version=version("logfire-mcp-server"),
        environment=settings.environment,
        resource_attributes={PROJECT: project} if project else None,
        console=False,
        metrics=False,  # they are the points of this server, see `forwarding`
        inspect_arguments=False,
        distributed_tracing=True,
        advanced=logfire.AdvancedOptions(base_url=base_url),
    )


def _nothing() -> None:
    pass
