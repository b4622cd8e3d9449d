"""The seed's alerting: conditions, severities, history, cooldown, mail."""

from __future__ import annotations

import pytest

from tests.seed.served import Served, until


def fires(served: Served, name: str) -> bool:
    alerts = served.call("manage_alerts", action="list")["alerts"]
    return any(each["name"] == name and each["state"] == "firing" for each in alerts)


def test_a_condition_on_a_metric_fires_is_told_by_mail_and_stands_in_the_history(
    served: Served,
) -> None:
    """“Flexible alert conditions using metric thresholds”, “Email Notifications”, “Complete audit
    trail of alert triggers and resolutions”."""
    rule = {"name": "Too hot", "condition": "oven_temperature > 200", "severity": "critical"}
    served.call("create_alert", **rule)
    served.collect("oven_temperature", 250.0, oven="1")
    until(lambda: fires(served, "Too hot"), "it fires")
    mails = lambda: [each.content["Subject"] for each in served.mail.received]  # noqa: E731
    until(lambda: any("Too hot" in subject for subject in mails()), "it is told by mail")
    served.collect("oven_temperature", 20.0, oven="1")
    until(lambda: not fires(served, "Too hot"), "it ends")
    history = served.call("manage_alerts", action="history", alert_id="Too hot")["history"]
    events = " ".join(entry["event"] for entry in history)
    assert "fired" in events
    assert "resolved" in events
    assert "notification" in events


@pytest.mark.parametrize("severity", ["critical", "high", "medium", "low", "info"])
def test_an_alert_has_one_of_five_severities(served: Served, severity: str) -> None:
    """“Critical, High, Medium, Low, and Info severity classifications”."""
    rule = {"name": f"Of {severity}", "condition": "never_sent > 1", "severity": severity}
    assert served.call("create_alert", **rule)["alert"]["severity"] == severity
    served.call("manage_alerts", action="delete", alert_id=f"Of {severity}")


def test_another_severity_is_refused_with_those_that_are_valid(served: Served) -> None:
    """The severities are these five."""
    rule = {"name": "Odd", "condition": "x > 1", "severity": "fatal"}
    answer = served.client.post("/logfire-mcp", json={"tool": "create_alert", "arguments": rule})
    assert answer.status_code == 400
    assert "critical" in answer.json()["error"]["message"]


def test_the_cooldown_of_an_alert_is_configured(served: Served) -> None:
    """“Prevent alert spam with configurable cooldown periods”."""
    rule = {"name": "Calm", "condition": "never_sent > 1", "severity": "low", "cooldown": "10m"}
    assert served.call("create_alert", **rule)["alert"]["cooldown"] == "10m"
    served.call("manage_alerts", action="delete", alert_id="Calm")
