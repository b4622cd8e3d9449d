"""TLS and SASL as the settings say them, against a broker that asks for both."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.config import load_settings
from streams.errors import ConfigError, LogUnavailable
from streams.events.topics import DEADLETTER, POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Entry, Message
from streams.processors.windows import WindowsProcessor
from streams.runners.kafka_runner import KafkaRunner
from tests.kafka_cluster import Cluster

PEM = serialization.Encoding.PEM
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def kafka_config(**variables: str) -> KafkaConfig:
    environ = {f"KAFKA_{name}": value for name, value in variables.items()}
    config = load_settings(environ).kafka()
    assert config is not None
    return config


def test_without_brokers_there_is_no_kafka() -> None:
    assert load_settings({"KAFKA_PARTITIONS": "3"}).kafka() is None


def test_brokers_alone_are_enough() -> None:
    config = kafka_config(BOOTSTRAP_SERVERS="a:9092, b:9093")
    assert config == KafkaConfig(("a:9092", "b:9093"))
    assert config.client_options() == {
        "bootstrap_servers": ["a:9092", "b:9093"],
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"BOOTSTRAP_SERVERS": "localhost"}, "a broker is like localhost:9092"),
        ({"SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL is 'TLS'"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({"REPLICATION": "2", "MIN_INSYNC_REPLICAS": "3"}, "at most KAFKA_REPLICATION, 2"),
        ({"TOPIC_PREFIX": "a b"}, "KAFKA_TOPIC_PREFIX"),
    ],
)
def test_settings_that_do_not_fit_are_named(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        kafka_config(**{"BOOTSTRAP_SERVERS": "localhost:9092", **variables})


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    config = kafka_config(
        BOOTSTRAP_SERVERS="localhost:9092", SECURITY_PROTOCOL="SSL", SSL_CAFILE=missing
    )
    with pytest.raises(ConfigError, match=r"KAFKA_SSL_CAFILE.*cannot be used"):
        config.client_options()


def test_a_password_is_never_shown() -> None:
    config = kafka_config(
        BOOTSTRAP_SERVERS="localhost:9092",
        SECURITY_PROTOCOL="SASL_PLAINTEXT",
        SASL_USERNAME="logfire",
        SASL_PASSWORD="secret",
    )
    assert "secret" not in repr(config)
    assert config.client_options()["sasl_plain_password"] == "secret"


@dataclass(frozen=True)
class Secured:
    """A broker whose second listener asks for TLS and a password; clients show a certificate."""

    address: str
    directory: Path

    def config(self, **other: str) -> KafkaConfig:
        variables = {
            "BOOTSTRAP_SERVERS": self.address,
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_USERNAME": "logfire",
            "SASL_PASSWORD": "right",
            "SSL_CAFILE": str(self.directory / "authority.pem"),
            "SSL_CERTFILE": str(self.directory / "client.pem"),
            "SSL_KEYFILE": str(self.directory / "client.key"),
        }
        return kafka_config(**{**variables, **other})


@pytest.fixture(scope="module")
def secured(
    start_kafka: Callable[..., Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Secured:
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listener = "listener.name.safe"
    start_kafka(
        1,
        properties={
            "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
            f"SAFE://127.0.0.1:{port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},SAFE://localhost:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SAFE:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            f"{listener}.sasl.enabled.mechanisms": "PLAIN",
            f"{listener}.plain.sasl.jaas.config": f'{LOGIN} required user_logfire="right";',
            f"{listener}.ssl.client.auth": "required",
            f"{listener}.ssl.keystore.type": "PEM",
            f"{listener}.ssl.keystore.location": str(directory / "broker-both.pem"),
            f"{listener}.ssl.truststore.type": "PEM",
            f"{listener}.ssl.truststore.location": str(directory / "authority.pem"),
        },
    )
    return Secured(f"localhost:{port}", directory)


def test_a_log_is_written_and_read_over_tls_with_a_password(secured: Secured) -> None:
    with closing(KafkaLog.open(secured.config())) as log:
        log.submit(Append((Entry(POINTS, 0, Message({}, b"safe")),))).result()
        assert [record.body for record in log.read_now(POINTS, 0, 0)] == [b"safe"]


def test_workers_join_write_and_read_over_tls_with_a_password(secured: Secured) -> None:
    config = secured.config(TOPIC_PREFIX="agents.", PARTITIONS="1")
    with closing(KafkaLog.open(config)) as log:
        poison = Entry(POINTS, 0, Message({"ce_type": "no.such.v1"}, b"?"))
        log.submit(Append((poison,))).result()
        runner = KafkaRunner(config, log, [WindowsProcessor()], tick_ms=1_000)
        runner.start()
        try:
            assert log.wait_for({(DEADLETTER, 0): 0}, 60)
        finally:
            assert runner.stop(20)
        assert len(log.read_now(DEADLETTER, 0, 0)) == 1


@pytest.mark.parametrize(
    "other",
    [{"SASL_PASSWORD": "wrong"}, {"SSL_CAFILE": ""}, {"SSL_CERTFILE": "", "SSL_KEYFILE": ""}],
    ids=["wrong password", "unknown authority", "no certificate"],
)
def test_whoever_is_not_let_in_is_told_so(secured: Secured, other: dict[str, Any]) -> None:
    with pytest.raises(LogUnavailable, match=f"Kafka at {secured.address}"):
        KafkaLog.open(secured.config(**other), timeout_s=2)


def make_certificates(directory: Path) -> None:
    """An authority's, and a broker's and a client's signed by it."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate("authority", authority_key, authority_key, "authority", is_ca=True)
    (directory / "authority.pem").write_bytes(authority.public_bytes(PEM))
    for name in ("localhost", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        signed = certificate(name, key, authority_key, "authority").public_bytes(PEM)
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(signed)
        (directory / f"{name}.key").write_bytes(private)
        if name == "localhost":
            (directory / "broker-both.pem").write_bytes(private + signed)


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: str,
    *,
    is_ca: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())
