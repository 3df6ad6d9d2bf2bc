"""The alert rules, and who hears of them: as promtool and amtool see it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.specs import redis_config
from tests.support.binaries import require_binary
from tests.unit.observability.test_dashboards import known, names_in

_ROOT = Path(__file__).parents[3]
_RULES = _ROOT / "observability/alerts/candela.yaml"
_TESTS = Path(__file__).with_name("alerts.test.yaml")
_ALERTMANAGER = _ROOT / "observability/alertmanager/alertmanager.yml"
_PROMETHEUS = _ROOT / "observability/prometheus/prometheus.yml"
_PAGE = _ROOT / "docs/observability.md"


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(_RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def run(name: str, *arguments: str | Path, folder: Path = _ROOT) -> str:
    """Runs a program of Prometheus and returns what it printed; fails when it says no."""
    command = [require_binary(name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_two_rules_of_the_requirements_are_there_to_the_letter() -> None:
    errors, connections = rules()["HighErrorRate"], rules()["DatabaseConnectionsHigh"]
    assert errors["expr"] == 'rate(http_requests_total{status_code=~"5.."}[5m]) > 0.1'
    assert (errors["for"], errors["labels"]) == ("5m", {"severity": "warning"})
    assert connections["expr"] == "database_connections_active > 15"
    assert (connections["for"], connections["labels"]) == ("2m", {"severity": "critical"})


def test_each_fires_when_it_should_and_not_before() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", _TESTS.name, folder=_TESTS.parent)


def test_each_rule_is_tested_both_ways() -> None:
    cases = [case for test in yaml.safe_load(_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fires == set(rules())
    assert set(rules()) - silent <= {"RestartsOften", "QueueSlow"}, "one that never was silent"


def test_every_metric_exists() -> None:
    for name, rule in rules().items():
        assert names_in(rule["expr"]) <= known(), name


def test_every_rule_says_what_it_means() -> None:
    for name, rule in rules().items():
        assert set(rule["annotations"]) == {"summary", "description"}, name
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name


def test_the_page_lists_them_all_with_their_severity() -> None:
    rows = re.findall(r"^\| (\w+) \| .+ \| (critical|warning|info) \|$", _PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {name: rule["labels"]["severity"] for name, rule in rules().items()}


def test_the_limit_of_redis_is_the_one_of_the_mesh() -> None:
    source = Path(redis_config.__code__.co_filename).read_text()
    assert '"maxmemory 256mb"' in source
    assert "256 * 1024 * 1024" in rules()["RedisMemoryHigh"]["expr"]


def test_prometheus_takes_its_configuration() -> None:
    assert "SUCCESS" in run("promtool", "check", "config", "--syntax-only", _PROMETHEUS)
    configuration = yaml.safe_load(_PROMETHEUS.read_text())
    assert (_PROMETHEUS.parent / configuration["rule_files"][0]).resolve() == _RULES


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in run("amtool", "check-config", _ALERTMANAGER)


@pytest.mark.parametrize(
    ("severity", "receiver", "ways"),
    [
        ("critical", "everybody", {"email", "slack", "dingtalk", "sms"}),
        ("warning", "chat", {"email", "slack", "dingtalk"}),
        ("info", "mail", {"email"}),
        ("something-new", "mail", {"email"}),
    ],
)
def test_who_hears_of_it(severity: str, receiver: str, ways: set[str]) -> None:
    routed = run("amtool", "config", "routes", "test", f"--config.file={_ALERTMANAGER}", f"severity={severity}")
    assert routed.strip() == receiver
    [found] = [one for one in yaml.safe_load(_ALERTMANAGER.read_text())["receivers"] if one["name"] == receiver]
    hooks = {re.sub(r".*/(\w+)/candela/send", r"\1", hook["url"]) for hook in found.get("webhook_configs", [])}
    assert {way for way in ("email", "slack") if f"{way}_configs" in found} | hooks == ways


def test_no_secret_is_in_it() -> None:
    text = _ALERTMANAGER.read_text()
    assert not re.search(
        r"^\s*(smtp_auth_password|slack_api_url|api_key|service_key|bearer_token):", text, re.MULTILINE
    )
