"""The file of receivers and routes: what is taken, and how what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.domain.alert_routing import Escalation, Inhibition
from streams.errors import ConfigError
from streams.notifications import configuration
from streams.notifications.configuration import load_configuration
from streams.notifications.receivers import read_mailbox

HOOK = {"kind": "webhook", "url": "https://example.org/hook"}


def load(**parts: Any) -> configuration.Configuration:
    return load_configuration(json.dumps({"receivers": {"ops": HOOK}, **parts}), {"KEY": "k3y/ö"})


def test_without_a_file_nobody_is_told() -> None:
    assert load_configuration(None, {}).routing.route.receiver == ""
    assert not load_configuration("", {}).receivers


def test_the_example_of_the_docstring_is_taken(tmp_path: Path) -> None:
    assert configuration.__doc__ is not None
    example = configuration.__doc__.partition("::")[2]
    path = tmp_path / "receivers.toml"
    path.write_text("\n".join(line[4:] for line in example.splitlines()))
    environ = {
        "SMTP_PASSWORD": "p@ss",
        "CHAT_WEBHOOK": "https://chat.example.org/T/B/x",
        "PING_KEY": "p1ng",
    }
    loaded = load_configuration(str(path), environ)
    assert loaded.receivers["chat"].url == "https://chat.example.org/T/B/x"
    assert read_mailbox(loaded.receivers["ops"].url).password == "p@ss"
    route = loaded.routing.route
    assert (route.group_wait_ms, route.repeat_interval_ms) == (30_000, 4 * 3_600_000)
    (child,) = route.routes
    assert (child.receiver, child.escalation) == ("chat", Escalation(900_000, "ops"))
    assert (child.group_wait_ms, child.mute) == (30_000, ("weekends",))
    assert loaded.routing.inhibitions == (
        Inhibition(
            source=('severity="critical"',),
            target=('severity=~"low|medium"',),
            equal=("alertname",),
        ),
    )


def test_secrets_come_by_reference_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    hook = {
        "kind": "webhook",
        "url": "https://example.org/${KEY}",
        "headers": {"Authorization": f"Bearer ${{file:{tmp_path}/token}}"},
    }
    receiver = load(receivers={"ops": hook}).receivers["ops"]
    assert receiver.url == "https://example.org/k3y%2F%C3%B6"
    assert receiver.headers == {"Authorization": "Bearer t0ken"}
    assert "k3y" not in repr(receiver)
    assert "t0ken" not in repr(receiver)
    assert (
        receiver.redacted("no https://example.org/k3y%2F%C3%B6, t0ken, k3y/ö") == "no ***, ***, ***"
    )


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"receivers": {"ops": {"kind": "fax", "url": "x"}}}, r"receivers\[\.\.\.\]\.kind"),
        ({"receivers": {"ops": {**HOOK, "urls": "x"}}}, "unknown field `urls`"),
        ({"receivers": {"ops": {**HOOK, "url": "ftp://x"}}}, r"receivers\.ops\.url"),
        ({"receivers": {"ops": {**HOOK, "url": "https://x/${NOT_SET}"}}}, "NOT_SET, which is not"),
        ({"receivers": {"ops": {**HOOK, "url": "${file:/no/such}"}}}, "/no/such: No such file"),
        ({"receivers": {"ops": {**HOOK, "parallel": 0}}}, "parallel is 0; valid: 1 to 32"),
        ({"receivers": {"ops": {**HOOK, "timeout_s": 0}}}, "timeout_s is 0"),
        ({"receivers": {"ops": {"kind": "email", "url": "smtp://h/?to=a@b"}}}, "to and from"),
        ({"receivers": {"ops": {"kind": "email", "url": "smtp://h/?too=a@b"}}}, "it has too"),
        ({"receivers": {"ops": {"kind": "apprise", "url": "slack"}}}, "no Apprise URL"),
        ({"route": {"receiver": "boss"}}, "route.receiver is 'boss'; valid: one of ops"),
        ({"route": {"matchers": ["a=b"]}}, "only for those below"),
        ({"route": {"group_wait": "soon"}}, "route.group_wait: 'soon' is not a duration"),
        ({"route": {"group_interval": "0s"}}, "valid: 1s or more"),
        ({"route": {"mute": ["x"]}}, "route.mute is 'x'; there are no times"),
        ({"route": {"routes": [{"matchers": ["a"]}]}}, r"route\.routes\[0\]\.matchers: 'a' is no"),
        ({"route": {"escalate": {"after": "1m", "to": "x"}}}, r"escalate\.to is 'x'"),
        ({"inhibit": [{"source": [], "target": ["a=b"]}]}, r"inhibit\[0\]\.source is empty"),
        ({"times": {"x": {"weekdays": [9], "at": "1", "minutes": 1}}}, r"times\.x: weekdays"),
        ({"alerts_max": 0}, "alerts_max is 0"),
        ({"routes": []}, "unknown field `routes`"),
        (
            {
                "receivers": {"dog": {**HOOK, "kind": "heartbeat"}},
                "route": {"receiver": "dog"},
            },
            "a heartbeat, which is told of no alerts",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(parts: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"ALERT_RECEIVERS: .*{problem}"):
        load(**parts)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_configuration(str(tmp_path / "none.toml"), {})
    (tmp_path / "bad.toml").write_text("[receivers")
    with pytest.raises(ConfigError, match="neither TOML nor JSON"):
        load_configuration(str(tmp_path / "bad.toml"), {})


def test_an_error_never_repeats_a_secret() -> None:
    text = json.dumps(
        {"receivers": {"ops": {"kind": "email", "url": "smtp://u:${KEY}@h/?to=a&from=b@c"}}}
    )
    with pytest.raises(ConfigError) as caught:
        load_configuration(text, {"KEY": "s3cr3t"})
    assert "s3cr3t" not in str(caught.value)
