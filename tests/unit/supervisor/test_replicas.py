"""With two of everything each process has a name and ports of its own, and knows where both of the others are."""

from pathlib import Path

import pytest

from gateway_envoy.settings import GatewaySettings
from services.kit.ports_plan import PortPlan, instance_name
from services.kit.settings import ServerSettings
from supervisor.settings import SettingsError, SupervisorSettings
from supervisor.specs import ProcessSpec, mesh_specs


def specs_of(root: Path, **environment: str) -> dict[str, ProcessSpec]:
    settings = SupervisorSettings.read({"CANDELA_DATA_DIR": str(root), **environment})
    return {spec.name: spec for spec in mesh_specs(settings)}


def test_one_of_each_is_as_ever(tmp_path: Path) -> None:
    assert list(specs_of(tmp_path)) == ["redis", "inference", "user", "recognition", "envoy"]
    assert "CANDELA_DRAIN_NOTICE_SECONDS" not in specs_of(tmp_path)["user"].env


def test_two_of_each_share_a_group_and_nothing_else(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, CANDELA_REPLICAS="2")
    assert {name for name in specs if name.endswith("-2")} == {"inference-2", "user-2", "recognition-2", "envoy-2"}
    for name in ("inference", "user", "recognition", "envoy"):
        first, second = specs[name], specs[instance_name(name, 2)]
        assert first.group == second.group == name
        assert first.probe != second.probe
        assert first.renewable
        assert second.renewable
    names = [port for spec in specs.values() for port in spec.ports]
    assert len(set(names)) == len(names)
    assert set(names) <= set(PortPlan().all())
    assert not specs["redis"].renewable


def test_a_service_has_the_time_that_it_gives_its_calls(tmp_path: Path) -> None:
    assert specs_of(tmp_path)["user"].grace == 12
    assert specs_of(tmp_path, CANDELA_DRAIN_SECONDS="60")["user"].grace == 62
    assert specs_of(tmp_path, CANDELA_REPLICAS="2", CANDELA_DRAIN_NOTICE_SECONDS="5")["user"].grace == 17
    assert specs_of(tmp_path, CANDELA_DRAIN_SECONDS="long")["user"].grace == 12


def test_only_the_first_migrates_and_the_second_waits_for_it(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, CANDELA_REPLICAS="2")
    for name in ("user", "recognition"):
        assert specs[name].steps
        assert specs[f"{name}-2"].steps == ()
        assert name in specs[f"{name}-2"].depends_on


def test_the_second_envoy_differs_in_its_admin_port_its_metrics_and_its_log(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, CANDELA_REPLICAS="2")
    plan = PortPlan()
    own = specs["envoy-2"].env
    assert own["CANDELA_GATEWAY_ADMIN_PORT"] == str(plan.envoy_admin + 1)
    assert own["CANDELA_METRICS_PORT"] == str(plan.metrics("gateway-2"))
    assert own["CANDELA_GATEWAY_ACCESS_LOG"].endswith("gateway-access-2.log")
    logs = [spec.own_log.path for spec in specs.values() if spec.own_log]
    assert len(set(logs)) == 2


def test_every_port_of_the_plan_is_another_and_no_two_plans_meet() -> None:
    first, next_one = PortPlan(8080).all(), PortPlan(8120).all()
    assert len(set(first.values())) == len(first)
    assert not set(first.values()) & set(next_one.values())


def test_services_and_gateway_know_both_addresses() -> None:
    both = ("127.0.0.1:8090", "127.0.0.1:8082")
    assert ServerSettings(replicas=2).endpoints("user") == both
    assert ServerSettings().endpoints("user") == both[:1]
    [user] = [upstream for upstream in GatewaySettings(replicas=2).upstreams() if upstream.name == "user"]
    assert tuple(f"{one.host}:{one.port}" for one in user.endpoints) == both


@pytest.mark.parametrize("text", ["0", "3", "two", "-1", "1.5"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="CANDELA_REPLICAS"):
        SupervisorSettings.read({"CANDELA_REPLICAS": text})
