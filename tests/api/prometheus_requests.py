"""Requests that a Prometheus and our server both answer, and where ours answers otherwise, and why.

The data is that of `tests.api.test_prometheus_api.a_few`: samples in the five minutes before `T0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

T0 = 1_435_781_430  # 2015-07-01T20:10:30Z
AT = "2015-07-01T20:10:30Z"

Fields = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Request:
    """``like``: "same" answers to the last byte of their values, or the same "shape": the fields
    that Prometheus has, of the same types.

    ``said``: what the messages of both match, where the request is refused. ``ours``: our status
    where it is another, and ``why``.
    """

    path: str
    fields: Fields = field(default_factory=dict)
    method: str = "GET"
    like: str = "same"
    said: str = ""
    ours: int = 0
    why: str = ""


def get(path: str, fields: Fields | None = None, **more: str) -> Request:
    return Request(path, fields or {}, **more)


def post(path: str, fields: Fields | None = None, **more: str) -> Request:
    return Request(path, fields or {}, "POST", **more)


def other(path: str, fields: Fields, ours: int, why: str, method: str = "GET") -> Request:
    return Request(path, fields, method, ours=ours, why=why)


def instant(query: str, **fields: str) -> Fields:
    return {"query": query, "time": str(T0), **fields}


def ranged(query: str, **fields: str) -> Fields:
    return {"query": query, "start": str(T0 - 60), "end": str(T0), "step": "30", **fields}


def epoch(end: str, step: str, **fields: str) -> Fields:
    return {"query": "up", "start": "0", "end": end, "step": step, **fields}


def match(*selectors: str, **fields: str) -> Fields:
    return {"match[]": list(selectors), **fields}


RANGE_AFTER = {"start": str(T0 + 10_000_000), "end": str(T0 + 10_000_001)}
BACKWARDS = {"start": "2", "end": "1"}
PARSE = "parse error"
TIME = "cannot parse .* to a valid timestamp"
DURATION = "cannot parse .* to a valid duration"
EMPTY_MATCHER = "must contain at least one non-empty matcher"
GARBAGE = "2.42 takes a number that no time can be and finds nothing there"
UTF_8 = "version 3 takes any UTF-8 as a label's name"
NOT_HERE = "nothing is scraped, ruled or configured here"
JSON_404 = "our refusal is JSON, and lists what there is"
LAYOUTS = (
    "foo/bar",
    "sum  by(a,b)(rate(x{a='b'}[90m] offset 36h))>bool 1",
    "max_over_time(rate(up[5m])[1h:30s] @ end() offset -1d) unless on(a) up @ 1609746000.5",
    "a*ignoring(x)group_right()b or -(1)^2 and # why\nup{__name__!='x',b=~'ü.*|'}",
    "histogram_quantile(0.9, sum by (le, job) (rate(latency_seconds_bucket{job='api'}[5m]))) / on"
    " (job) group_left (version) label_replace(target_info, 'a', '$1', 'b', '(.*)')",
)
QUERIES = [
    *(get("query", instant(query)) for query in ("up", "1+1", '"a"', "odd", "sum(nosuch)")),
    *(get("query", instant(query)) for query in ("req_total[31s]", "NaN", "-Inf", "1e-7", "1e30")),
    *(get("query", instant(f"vector({n})")) for n in ("1e21", "1e-7", "0.1", "123456789012345678")),
    *(get("query", instant(query)) for query in ("sort(odd)", "up / 0", "time()", "round(up, 0)")),
    get("query", {"query": "sum by (job) (up)", "time": "2015-07-01T20:10:30.781Z"}),
    get("query", {"query": "up", "time": "2015-07-01T22:10:30.781+02:00"}),
    get("query", {"query": "time()", "time": "-5.5"}),
    *(get("query", instant("up", timeout=limit)) for limit in ("", "1y", "1m30s", "20")),
    post("query", instant("up")),
    post("query?query=2", instant("3")),
    get("query?query=1&query=2&time=0"),
    get("query", said=PARSE),
    *(get("query", instant(query), said=PARSE) for query in ("", "up{", "a b", "{}", "nosuch(up)")),
    get("query", instant("{a=~'.*'}"), said=EMPTY_MATCHER),
    get("query", instant("rate(up)"), said="expected type .* in call to function .rate."),
    get("query", instant("up and 1"), said="set operator .and. not allowed"),
    get("query", instant("topk(up, up)"), said="expected type scalar in aggregation"),
    get("query", instant("up{a=~'('}"), said="regex"),
    get("query", instant("up + on() odd"), said="many-to-many matching not allowed"),
    get("query", instant("topk(NaN, up)"), said="NaN"),
    get("query", instant("label_replace(up, 'x', 'y', 'job', '(')"), said="invalid regular exp"),
    *(get("query", {"query": "up", "time": at}, said=TIME) for at in ("soon", "0x10", f"{AT}Z")),
    get("query", {"query": "up", "time": "2015-02-30T00:00:00Z"}, said=TIME),
    *(
        get("query", instant("up", timeout=limit), said=DURATION)
        for limit in ("x", "1s2s", "1m 3s")
    ),
    *(get("query", instant("up", timeout=limit), said="time.*out|took longer") for limit in "0"),
    get("query?query=%ff", said=""),
    other(
        "query", instant("`a\\`"), 400, "our grammar takes a backslash in raw text for an escape"
    ),
    *(other("query", {"query": "up", "time": at}, 400, GARBAGE) for at in ("1e300", "NaN", "Inf")),
    other("query", instant("count_values('--', up)"), 200, UTF_8),
    other("query", instant("label_replace(up, '-x', 'y', 'job', '.*')"), 200, UTF_8),
    other("query", instant("up", lookback_delta="x"), 400, "2.42 does not know the parameter"),
    other("query", instant("up", stats="all"), 200, "we give no statistics of a query"),
    other("query", instant("quantile(2, up)"), 200, "version 3 warns"),
]
RANGES = [
    *(get("query_range", ranged(query)) for query in ("req_total", "up", "1", "1e-7", "nosuch")),
    *(get("query_range", ranged("req_total", step=step)) for step in ("7.5", "0.5s", "1m30s")),
    get("query_range", ranged("req_total", start=str(T0 - 20.25), step="0.25")),
    get("query_range", ranged("req_total", start="2015-07-01T20:10:00Z", end=AT)),
    get("query_range", ranged("up", start=str(T0))),
    get("query_range", epoch("11000", "1")),
    post("query_range", ranged("rate(req_total[1m])")),
    get("query_range", epoch("11001", "1"), said="exceeded maximum resolution of 11,00"),
    get("query_range", {"query": "up"}, said=f'"start".*{TIME}'),
    get("query_range", {"query": "up", "start": "1"}, said=f'"end".*{TIME}'),
    get("query_range", {"query": "up", "start": "1", "end": "2"}, said=f'"step".*{DURATION}'),
    get("query_range", {"start": "1", "end": "2", "step": "1"}, said=PARSE),
    get("query_range", ranged("up", start="x"), said=f'"start".*{TIME}'),
    get("query_range", ranged("up", end="x"), said=f'"end".*{TIME}'),
    get("query_range", ranged("up", end="1"), said="end timestamp must not be before start time"),
    *(get("query_range", epoch("2", step), said="zero or negative") for step in ("0", "-1")),
    *(get("query_range", epoch("2", step), said=DURATION) for step in ("x", "1e99", "1 m")),
    get("query_range", epoch("2", "NaN"), said="step"),
    get("query_range", epoch("2", "1", timeout="x"), said=DURATION),
    *(
        get("query_range", ranged(query), said="invalid expression type")
        for query in ("'a'", "a[1m]")
    ),
    get("query_range", ranged("up{"), said=PARSE),
    other("query_range", epoch("1", "0.0001"), 400, "2.42 divides by zero"),
]
METADATA = [
    get("series", match("up")),
    get("series", match("up", "req_total")),
    get("series", match("nosuch")),
    get("series", match('{__name__!=""}', start=str(T0 - 1), end=str(T0))),
    get("series", match("up", start=str(T0 + 1), end=str(T0 + 2))),
    get("series", match("up", **BACKWARDS)),
    post("series", match('{job=~"n.*"}')),
    get("series", said="no match\\[\\] parameter provided"),
    *(get("series", match(text), said=PARSE) for text in ("", "up +", "up{")),
    *(get("series", match(text), said=EMPTY_MATCHER) for text in ("{}", '{a=~".*"}')),
    *(get("series", match(text), said="match") for text in ("up[5m]", "sum(up)", "up offset 5m")),
    *(
        get("series", match("up", **{name: "x"}), said=f'"{name}".*{TIME}')
        for name in ("start", "end")
    ),
    *(ask("labels", fields) for ask in (get, post) for fields in ({}, match("odd"), RANGE_AFTER)),
    *(get("labels", fields) for fields in (match("odd", "up"), match("nosuch"), BACKWARDS)),
    get("labels", match("{}"), said=EMPTY_MATCHER),
    get("labels", match("up{"), said=PARSE),
    get("labels", {"start": "x"}, said=f'"start".*{TIME}'),
    *(get(f"label/{name}/values") for name in ("job", "__name__", "nosuch", "source")),
    *(
        get("label/job/values", fields)
        for fields in (match("up"), match("odd"), RANGE_AFTER, BACKWARDS)
    ),
    get("label/job/values", match("{}"), said=EMPTY_MATCHER),
    get("label/job/values", match("up{"), said=PARSE),
    get("label/job/values", {"end": "x"}, said=f'"end".*{TIME}'),
    *(other(f"label/{name}/values", {}, 200, UTF_8) for name in ("a-b", "1a", "a.b", "größe")),
    get("metadata", {"metric": "nosuch"}),
    get("metadata", {"limit": "x"}, said="limit"),
    other("metadata", {"limit": "-1"}, 400, "a limit is not negative, here as in labels"),
    other("metadata", {}, 200, "2.42 knows no metadata of what is written to it"),
    get("status/buildinfo", like="shape"),
    get("status/tsdb", like="shape"),
    other("status/tsdb", {"limit": "x"}, 400, "version 3 has the limit"),
    get("targets", like="shape"),
    get("rules", like="shape"),
    get("alerts"),
    get("rules", {"type": "x"}, said="type"),
    get("targets", {"state": "active"}, like="shape"),
    get("query_exemplars", {"query": "up", "start": str(T0), "end": str(T0)}),
    post("query_exemplars", {"query": "up", "start": str(T0), "end": str(T0)}),
    get("query_exemplars", {"query": "up{"}, said=PARSE),
    get("query_exemplars", {"query": "up", **BACKWARDS}, said="end timestamp must not be before"),
    get("query_exemplars", {"query": "up", "start": "x"}, said=TIME),
    *(post("format_query", {"query": query}) for query in LAYOUTS),
    get("format_query", {"query": "a b"}, said=PARSE),
    get("format_query", said=PARSE),
    other("format_query", {"query": "+up * 1e6"}, 200, "our grammar's numbers have no exponents"),
    other("parse_query", {"query": "foo/bar"}, 200, "version 3 has it"),
]
PATHS = [
    *(other(path, {}, 405, "also 405, ours in JSON", "POST") for path in ("metadata", "targets")),
    other("label/job/values", {}, 405, "also 405, ours in JSON", "POST"),
    other("query", {}, 405, "also 405, ours in JSON", "PUT"),
    other("series", match("up"), 405, "2.42 lists a deletion that it does not have", "DELETE"),
    other("query", {}, 405, "a browser's origin is the guard's matter", "OPTIONS"),
    other("query", instant("1"), 200, "where GET is, HEAD is", "HEAD"),
    other("nothing", {}, 404, JSON_404),
    other("query/", instant("1"), 200, "a slash at the end is no other path"),
    other("label//values", {}, 400, "a name is missing; 2.42 redirects"),
    *(other(path, {}, 404, NOT_HERE) for path in ("scrape_pools", "targets/metadata")),
    *(other(f"status/{path}", {}, 404, NOT_HERE) for path in ("config", "flags", "walreplay")),
    other("alertmanagers", {}, 404, NOT_HERE),
]
REQUESTS = (*QUERIES, *RANGES, *METADATA, *PATHS)
