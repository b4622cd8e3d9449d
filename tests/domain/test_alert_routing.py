"""Which receivers an alert goes to, and which alerts hold others back."""

from __future__ import annotations

from streams.domain.alert_routing import Inhibition, Route, Router, Routing, inhibitor, sources_of

CRITICAL = {"alertname": "Disk", "severity": "critical", "team": "db"}
MINOR = {"alertname": "Disk", "severity": "low", "team": "web"}


def route(receiver: str, *matchers: str, go_on: bool = False, **fields: object) -> Route:
    return Route(receiver=receiver, matchers=matchers, go_on=go_on, **fields)  # type: ignore[arg-type]


def router(*children: Route, receiver: str = "default") -> Router:
    return Router(Routing(route=Route(receiver=receiver, routes=children)))


def test_the_first_child_that_matches_gets_it() -> None:
    tree = router(route("db", "team=db"), route("pager", "severity=critical"))
    assert tree.receivers(CRITICAL) == ("db",)
    assert tree.receivers(MINOR) == ("default",)


def test_continue_asks_the_siblings_after_it_too() -> None:
    tree = router(route("db", "team=db", go_on=True), route("pager", "severity=critical"))
    assert tree.receivers(CRITICAL) == ("db", "pager")


def test_a_parent_gets_what_its_children_do_not_match() -> None:
    tree = router(route("db", "team=db", routes=(route("pager", "severity=high"),)))
    assert tree.receivers(CRITICAL) == ("db",)


def test_a_rules_own_receivers_come_beside_each_once() -> None:
    tree = router(route("db", "team=db"))
    assert tree.receivers(CRITICAL, ["boss", "db", "boss"]) == ("db", "boss")


def test_a_route_without_receiver_tells_nobody() -> None:
    assert router(receiver="").receivers(CRITICAL) == ()
    assert router(receiver="").receivers(CRITICAL, ["boss"]) == ("boss",)


def test_alerts_are_grouped_by_the_labels_that_the_route_names() -> None:
    tree = router(
        route("db", "team=db", group_by=("team", "missing")), route("x", group_by=("...",))
    )
    (by_team,) = tree.targets(CRITICAL)
    assert by_team.labels == {"team": "db"}
    (each,) = tree.targets(MINOR)
    assert each.labels == MINOR


def test_a_target_leads_back_to_its_route() -> None:
    tree = router(route("db", "team=db", go_on=True), route("db", "severity=critical"))
    targets = tree.targets(CRITICAL, ["boss"])
    assert len({target.key for target in targets}) == 3
    routes = [tree.route(target.path) for target in targets]
    assert [each.receiver for each in routes if each is not None] == ["db", "db", "boss"]
    assert tree.route("/{}gone") is None


def holding(routing: Routing, *alerts: tuple[str, dict[str, str]]) -> dict[str, str]:
    """Which of the alerts each is held back by, while all fire."""
    sources: dict[tuple[int, tuple[str, ...]], dict[str, bool]] = {}
    for fingerprint, labels in alerts:
        for source, both in sources_of(routing, labels).items():
            sources.setdefault(source, {})[fingerprint] = both
    return {name: inhibitor(routing, labels, sources, name) for name, labels in alerts}


def test_an_alert_holds_back_those_with_equal_labels() -> None:
    routing = Routing(
        inhibitions=(
            Inhibition(source=("severity=critical",), target=("severity=low",), equal=("team",)),
        )
    )
    here = {**MINOR, "team": "db"}
    assert holding(routing, ("c", CRITICAL), ("m", MINOR), ("h", here)) == {
        "c": "",
        "m": "",
        "h": "c",
    }


def test_labels_that_both_lack_are_equal() -> None:
    routing = Routing(
        inhibitions=(
            Inhibition(source=("severity=critical",), target=("severity=low",), equal=("zone",)),
        )
    )
    assert holding(routing, ("c", CRITICAL), ("m", MINOR))["m"] == "c"


def test_no_alert_holds_itself_or_its_like_back() -> None:
    routing = Routing(inhibitions=(Inhibition(source=("team=~.+",), target=("team=db",)),))
    twin = {**CRITICAL, "alertname": "Other"}
    assert holding(routing, ("a", CRITICAL), ("b", twin)) == {"a": "", "b": ""}
    assert holding(routing, ("a", CRITICAL), ("m", MINOR)) == {"a": "m", "m": ""}
