"""What is said about a rule that is probably not what its maker meant."""

from __future__ import annotations

from mcp_api.tools.alert_lint import lint
from projections.queries import Queries
from streams.events.rules import Rule
from tests.api.tools_rig import NOW_MS, Rig, open_rig, point

HOSTS = 12


def rule(condition: str, **more) -> Rule:
    return Rule(id="r", version=1, name="a rule", condition=condition, **more)


def said(rig: Rig, condition: str, receivers=None, **more) -> list[str]:
    asked = rule(condition, **more)
    return lint(Queries(rig.projector), asked, receivers=receivers, now_ms=NOW_MS)


async def every_half_minute(rig: Rig) -> None:
    """Twelve series of ``load``, a sample every 30 s for five minutes."""
    await rig.collect(
        [
            point("load", float(n), NOW_MS - 30_000 * n, host=f"h{host}", zone="eu")
            for host in range(HOSTS)
            for n in range(10)
        ]
    )


async def test_nothing_is_said_of_a_rule_that_is_well(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        assert said(rig, "load > 80") == []
        assert said(rig, 'rate(load{host=~"h.*"}[5m]) > 0.1') == []
        assert said(rig, "absent(lode)") == []
        assert said(rig, "load", record="load:copy") == []


async def test_an_unknown_metric_is_named_with_the_nearest(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        assert said(rig, "lode > 80") == ["no metric is named 'lode' yet; the nearest: load"]


async def test_a_tag_that_never_matches_is_named_with_what_would(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        [warning] = said(rig, 'load{zone="us"} > 80')
        assert "never has the value 'us'" in warning
        assert "valid: eu" in warning
        [warning] = said(rig, 'load{hots="h1"} > 80')
        assert "did you mean 'host'" in warning


async def test_a_range_under_two_sample_intervals_is_told_with_one_that_is_enough(
    tmp_path,
) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        [warning] = said(rig, "rate(load[45s]) > 0")
        assert "[45s] of load is under two sample intervals (a sample every 30s)" in warning
        assert "[2m] is safe" in warning
        assert said(rig, "rate(load[1m]) > 0") == []


async def test_more_series_than_the_rule_may_have_are_counted(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        [warning] = said(rig, "load > 80", series_max=10)
        assert "load has 12 such series, and the rule may have alerts for 10" in warning
        assert said(rig, "max by (zone) (load) > 80", series_max=10) == []
        assert said(rig, 'load{host="h1"} > 80', series_max=10) == []


async def test_a_condition_without_a_comparison_is_told(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        [warning] = said(rig, "rate(load[5m])")
        assert "compares nothing" in warning
        assert said(rig, "load unless load") == []


async def test_a_receiver_that_does_not_exist_is_told_with_those_that_do(tmp_path) -> None:
    async with open_rig(tmp_path) as rig:
        await every_half_minute(rig)
        notify = ("ops", "opps")
        assert said(rig, "load > 1", {"ops", "dev"}, notify=notify) == [
            "no receiver is named 'opps' (dev, ops): it gets nothing"
        ]
        assert said(rig, "load > 1", None, notify=notify) == []
