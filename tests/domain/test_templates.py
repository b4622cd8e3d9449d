"""Annotation templates: what they give, and that Prometheus gives the same."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.templates import (
    EXPANDED_CHARS_MAX,
    TEMPLATE_CHARS_MAX,
    expand,
    template_problem,
)

LABELS = {"host": "a", "odd_name": "x", "quoted": 'say "hi"\n'}

SAME_IN_PROMETHEUS = (
    "plain text, 100 %",
    "{{ $value }}",
    "{{$value}} and {{.Value}}",
    "{{ $labels.host }}/{{ .Labels.host }}/{{ $labels.nope }}",
    "{{ $labels }}",
    '{{ index $labels "odd_name" }}',
    "{{ $value | humanize }} {{ humanize .Value }}",
    "{{ $value | humanize1024 }}",
    "{{ $value | humanizePercentage }}",
    "{{ $value | humanizeDuration }}",
    '{{ "43200" | humanizeDuration }}',
    "{{ $value | humanizeTimestamp }}",
    '{{ printf "%.2f" $value }} {{ $value | printf "%.0f" }} {{ printf "%0.0f" $value }}',
    '{{ printf "%e %g %8.3f|%-8.1f|%+.1f|%08.2f" $value $value $value $value $value $value }}',
    '{{ printf "%.4g" $value }} {{ printf "%v" $value }} {{ printf "%6v|%-6v|" $value $value }}',
    '{{ printf "%s is %q, %10s|%-4s|%.1s %%" $labels.host $labels.quoted "b" "c" "dd" }}',
    '{{ printf "%d %t" $value true }} {{ printf "%s" }} {{ printf "x" $value }}',
    '{{ printf "%x" $labels.host }} {{ toUpper $labels.host }}{{ "ABC" | toLower }}',
    "{{ with $labels.host -}} on {{ . }} {{- end }}.",
    "{{ with $labels.nope }}on {{ . }}{{ else }}nowhere {{ $value }}{{ end }}",
    "{{ if gt $value 100.0 }}much{{ else if lt $value 1.0 }}little{{ else }}some{{ end }}",
    '{{ if eq $labels.host "b" "a" }}yes{{ end }}{{ if ne $labels.host "a" }}no{{ end }}',
    '{{ if and (ge $value 0.0) (not (le $value 5.0)) }}{{ or "" `raw "text"` }}{{ end }}',
    "a {{- /* says nothing */ -}} b {{ 1.5 }} {{ true }}",
    '{{ (printf "%.1f" ($value | humanize | printf "%s" | len)) }}',
)
"""Where one is refused by us (the last uses ``len``), that is told by `template_problem`."""

VALUES = (0.0, 1.0, -3.5, 1234.5678, 0.000123, 9.1e9, 123456789.0, 99999.5, 1e-7, 86461.25)


@pytest.mark.parametrize(
    ("text", "value", "expanded"),
    [
        ("{{ $labels.host }}: {{ $value | humanize }} %", 93.1234, "a: 93.12 %"),
        ("{{ $value }}", math.nan, "NaN"),
        ("{{ $value | humanize }} {{ $value }}", -math.inf, "-Inf -Inf"),
        ("{{ $value }}", 3.0, "3"),
        ("{{ $value | humanizePercentage }}", 0.0512, "5.12%"),
        ("no {{ `braces` }}", 1.0, "no braces"),
    ],
)
def test_a_template_is_expanded_for_one_alert(text: str, value: float, expanded: str) -> None:
    assert template_problem(text) == ""
    assert expand(text, LABELS, value) == expanded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{{ query "up" | first | value }}', "the template function query is not supported"),
        ("{{ $labels.host | first }}", "the template function first is not supported"),
        ("{{ range $labels }}{{ end }}", "{{ range }} is not supported in templates"),
        ("{{ $externalURL }}", "the template variable $externalURL is not supported"),
        ("{{ $x := 1 }}", "the template variable $x is not supported"),
        ("{{ humanize }}", "the template function humanize takes 1 arguments, not 0"),
        ("{{ if $value }}a", "a template has {{ if }} without {{ end }}"),
        ("a {{ end }}", "a template has {{ end }} without an if or with"),
        ("{{ $value", "a template has {{ without }}"),
        ("{{ }}", "{{  }} is not valid in a template"),
        ("{{ $value $value }}", "{{ $value $value }} is not valid in a template"),
        ("{{ $value | 5 }}", "{{ $value | 5 }} is not valid in a template"),
        ("x" * (TEMPLATE_CHARS_MAX + 1), "a template of 4097 characters; at most 4096 are taken"),
        ("{{ (" * 1_000, "a template has {{ without }}"),
        ("{{ " + "(" * 1_000 + " }}", "a template nests more than 16 parentheses"),
        ("{{ if 1 }}" * 20, "a template nests more than 16 blocks"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(text: str, problem: str) -> None:
    assert template_problem(text) == problem
    assert expand(text, LABELS, 1.0) == f"<error in template: {problem}>"


def test_what_goes_wrong_for_an_alert_is_told_in_its_place() -> None:
    text = "{{ $labels.host | humanize }} on {{ $labels.host }}"
    assert template_problem(text) == ""
    assert expand(text, LABELS, 1.0) == "<error in template: 'a' is not a number> on a"


def test_an_expanded_text_is_cut() -> None:
    text = expand("{{ $labels.host }}" * 200, {"host": "h" * 4_096}, 1.0)
    assert len(text) == EXPANDED_CHARS_MAX
    assert text.endswith("h…")


@given(
    st.lists(
        st.sampled_from(
            [
                *("{{", "}}", "-", " ", "if", "with", "else", "end", "$labels", ".host", "$value"),
                *(
                    "|",
                    "(",
                    ")",
                    "printf",
                    "humanize",
                    "1e400",
                    ".",
                    "eq",
                    '"%d %99.99f"',
                    "\ud800",
                ),
            ]
        )
    ),
    st.floats(),
)
def test_expanding_never_raises(parts: list[str], value: float) -> None:
    expand("".join(parts), LABELS, value)
    expand(" ".join(["{{", *parts, "}}"]), LABELS, value)


def test_prometheus_expands_them_to_the_same(
    tmp_path: Path, requires: Callable[[str], str]
) -> None:
    promtool = requires("promtool")
    taken = [text for text in SAME_IN_PROMETHEUS if not template_problem(text)]
    assert len(taken) == len(SAME_IN_PROMETHEUS) - 1
    series = [{**LABELS, "row": str(row)} for row in range(len(VALUES))]
    rules = [
        {"alert": f"T{i}", "expr": "m", "annotations": {"text": text}}
        for i, text in enumerate(taken)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": _series(labels), "values": f"{value!r}"}
                    for labels, value in zip(series, VALUES, strict=True)
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "0m",
                        "alertname": f"T{i}",
                        "exp_alerts": [
                            {
                                "exp_labels": labels,
                                "exp_annotations": {
                                    "text": expand(text, {"__name__": "m", **labels}, value)
                                },
                            }
                            for labels, value in zip(series, VALUES, strict=True)
                        ],
                    }
                    for i, text in enumerate(taken)
                ],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(json.dumps(tests))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _series(labels: dict[str, str]) -> str:
    return "m{" + ",".join(f"{name}={json.dumps(v)}" for name, v in labels.items()) + "}"
