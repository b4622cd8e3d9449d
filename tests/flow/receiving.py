"""Real receivers: an HTTP server and an SMTP server (TLS, login) that keep what they get."""

from __future__ import annotations

import datetime
import email
import email.policy
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "alerts", "p/ss:w@rd-%41"


@dataclass(frozen=True)
class Received:
    """``key``: the notification's id; ``content``: JSON, or a mail."""

    key: str
    again: bool
    content: Any
    headers: dict[str, str]


@dataclass
class Inbox:
    """What a server got, in the order in which it came. ``arrives`` is called before it answers,
    ``answered`` after it; what ``arrives`` returns is the status."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    arrives: Callable[[Received], int] = lambda _: 200
    answered: Callable[[Received], None] = lambda _: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, received: Received) -> int:
        with self.changed:
            self.received.append(received)
            self.changed.notify_all()
        return self.arrives(received)

    def wait_for(self, count: int) -> list[Received]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= count, timeout=30)
        return self.received


@contextmanager
def http_server() -> Iterator[Inbox]:
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = dict(self.headers.items())
            received = Received(
                headers.get("Idempotency-Key", ""),
                headers.get("Notification-Again") == "1",
                json.loads(body) if body else None,
                headers,
            )
            status = inbox.take(received)
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
            except OSError:
                return  # who asked is dead
            inbox.answered(received)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    inbox.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Mails:
    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        key = str(mail["Message-ID"]).strip("<>").rpartition("@")[0]
        received = Received(key, mail["Notification-Again"] == "1", mail, {})
        status = self._inbox.take(received)
        return "250 taken" if status == 200 else f"{status} not now"


def _authenticate(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
) -> AuthResult:
    assert isinstance(data, LoginPassword)
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def smtp_server(folder: Path, *, tls: str) -> Iterator[Inbox]:
    """It takes mail only by TLS and from `USER`; ``inbox.url`` is ``host:port``."""
    inbox = Inbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options: dict[str, Any] = {"ssl_context": context}
    if tls == "starttls":
        options = {"tls_context": context, "require_starttls": True}
    controller = Controller(
        _Mails(inbox),
        hostname="127.0.0.1",
        port=port,
        authenticator=_authenticate,
        auth_required=True,
        auth_require_tls=tls == "starttls",  # it does not see that implicit TLS is TLS
        **options,
    )
    controller.start()
    inbox.url = f"127.0.0.1:{port}"
    try:
        yield inbox
    finally:
        controller.stop()


def certificate(folder: Path) -> Path:
    """A PEM file with a key and a certificate of 127.0.0.1 that vouches for itself."""
    path = folder / "server.pem"
    if path.exists():
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path
