"""The Kubernetes manifests as kubectl builds them: legal, and with every value of requirements.md."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it brings no types
import pytest
import yaml

from services.kit.ports_plan import PortPlan
from tests.support.binaries import require_binary

_ROOT = Path(__file__).parents[3]
_FOLDER = _ROOT / "deploy/kubernetes"
_OVERLAYS = ("single-region", "two-regions/first", "two-regions/second")
_BACK_ENDS = ("user", "recognition", "inference")
_ALL = ("gateway", *_BACK_ENDS)
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from elsewhere
_NAME = "app.kubernetes.io/name"
# The oldest and the newest Kubernetes that are looked at.
_VERSIONS = ("1.30", "1.37")
_FOREIGN = {"PGSSLMODE", "PGSSLROOTCERT", "DATABASE_URL", "DATABASE_REPLICA_URL"}

Json = dict[str, Any]


@cache
def _built(overlay: str) -> tuple[Json, ...]:
    command = [str(require_binary("kubectl")), "kustomize", str(_FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def found(overlay: str, kind: str, name: str) -> Json:
    [one] = [one for one in _built(overlay) if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return one


def pod(name: str, overlay: str = "single-region") -> Json:
    template: Json = found(overlay, "Deployment", name)["spec"]["template"]["spec"]
    return template


def container(name: str, overlay: str = "single-region") -> Json:
    [one] = pod(name, overlay)["containers"]
    return dict(one)


def containers() -> Iterator[tuple[str, Json, Json]]:
    """Yields the name, the container and its pod of every container of every overlay."""
    for overlay in _OVERLAYS:
        for name in _ALL:
            spec = pod(name, overlay)
            for one in (*spec.get("initContainers", []), *spec["containers"]):
                yield f"{overlay} {name} {one['name']}", one, spec


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_it_is_legal(overlay: str, version: str) -> None:
    for document in _built(overlay):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_check_refuses_what_is_wrong() -> None:
    wrong = found("single-region", "Deployment", "user") | {"replica": 3}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, _VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", _ALL)
def test_replicas_and_resources_are_the_required_ones(name: str) -> None:
    assert found("single-region", "Deployment", name)["spec"]["replicas"] == 3
    assert container(name)["resources"] == {
        "requests": {"memory": "512Mi", "cpu": "250m"},
        "limits": {"memory": "1Gi", "cpu": "500m"},
    }
    assert {"name": "http", "containerPort": 8000} in container(name)["ports"]


@pytest.mark.parametrize("name", _BACK_ENDS)
def test_probes_are_the_required_ones(name: str) -> None:
    probes = {kind: container(name)[f"{kind}Probe"] for kind in ("liveness", "readiness")}
    for probe in probes.values():
        assert probe["httpGet"] == {"path": "/health", "port": "http", "scheme": "HTTPS"}
    assert (probes["liveness"]["initialDelaySeconds"], probes["liveness"]["periodSeconds"]) == (30, 10)
    assert (probes["readiness"]["initialDelaySeconds"], probes["readiness"]["periodSeconds"]) == (5, 5)
    settings = {one["name"]: one.get("value") for one in container(name)["env"]}
    assert (settings["CANDELA_METRICS_HOST"], settings["CANDELA_METRICS_PORT"]) == (_EVERYWHERE, "8000")


def test_a_gateway_waits_for_everything_once_and_stays_up_without_it() -> None:
    gateway = container("gateway")
    assert gateway["startupProbe"]["httpGet"] == {"path": "/health", "port": "http", "scheme": "HTTPS"}
    for kind, delay, period in (("liveness", 30, 10), ("readiness", 5, 5)):
        probe = gateway[f"{kind}Probe"]
        assert probe["tcpSocket"] == {"port": "http"}
        assert (probe["initialDelaySeconds"], probe["periodSeconds"]) == (delay, period)


def test_a_gateway_drains_through_its_admin_port() -> None:
    settings = {one["name"]: one["value"] for one in container("gateway")["env"]}
    *_, port, seconds = container("gateway")["lifecycle"]["preStop"]["exec"]["command"]
    assert int(port) == PortPlan(int(settings["CANDELA_PORT_BASE"])).envoy_admin
    assert PortPlan(int(settings["CANDELA_PORT_BASE"])).edge == 8000
    assert float(seconds) < pod("gateway")["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["user", "recognition"])
def test_databases_come_from_the_required_secret(name: str) -> None:
    [migrate] = pod(name)["initContainers"]
    assert migrate["args"] == [f"services.{name}.main", "migrate"]
    for one in (container(name), migrate):
        url, own = one["env"][:2]
        assert url == {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db-secret", "key": "url"}}}
        # Kubernetes fills in variables that stand before the one that names them.
        assert own == {"name": f"CANDELA_{name.upper()}_DATABASE_URL", "value": f"$(DATABASE_URL)/candela_{name}"}


@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    documented = set(re.findall(r"`(CANDELA_\w+)`", (_ROOT / "docs/configuration.md").read_text()))
    [shared] = [one for one in _built(overlay) if one["kind"] == "ConfigMap"]
    names = set(shared["data"])
    for where, one, _ in containers():
        if where.startswith(f"{overlay} "):
            names |= {variable["name"] for variable in one.get("env", [])}
            assert one["envFrom"] == [{"configMapRef": {"name": shared["metadata"]["name"]}}]
    assert names - _FOREIGN <= documented


def test_containers_may_do_nothing_that_they_need_not() -> None:
    for where, one, spec in containers():
        hardened = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["securityContext"] == hardened, where
        assert spec["securityContext"]["runAsNonRoot"] is True, where
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
    [namespace] = [one for one in _built("single-region") if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nobody_gets_a_key_that_is_not_theirs() -> None:
    def keys(name: str) -> set[str]:
        [volume] = [one for one in pod(name)["volumes"] if one["name"] == "keys"]
        if "secret" in volume:
            return {f"{volume['secret']['secretName']}:{item['key']}" for item in volume["secret"]["items"]}
        return {source["secret"]["name"] for source in volume["projected"]["sources"]}

    assert keys("user") == {"candela-keys-mesh", "candela-keys-user"}
    assert keys("recognition") == keys("inference") == {"candela-keys-mesh"}
    assert keys("gateway") == {"candela-keys-mesh:user-jwks.json"}
    for name in _ALL:
        [tls] = [one for one in pod(name)["volumes"] if one["name"] == "tls"]
        assert tls["secret"]["secretName"] == f"tls-{name}"


def test_no_secret_is_in_the_manifests_and_each_is_described() -> None:
    assert not [one for overlay in _OVERLAYS for one in _built(overlay) if one["kind"] == "Secret"]
    text = "\n".join(file.read_text() for file in _FOLDER.rglob("*.yaml"))
    named = set(re.findall(r"secretKeyRef: {name: ([\w-]+)|secretName: ([\w-]+)|secret: {name: ([\w-]+)}", text))
    page = (_ROOT / "docs/deployment.md").read_text()
    for name in ("".join(groups) for groups in named):
        assert f"secret generic {name} " in page or f"`{name}`" in page, name


@pytest.mark.parametrize("name", _ALL)
def test_one_pod_may_go_and_more_may_come(name: str) -> None:
    budget = found("single-region", "PodDisruptionBudget", name)["spec"]
    assert budget["minAvailable"] == 2
    assert budget["selector"]["matchLabels"] == {_NAME: name}
    scaler = found("single-region", "HorizontalPodAutoscaler", name)["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert scaler["scaleTargetRef"]["name"] == name
    [apart] = pod(name)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == {_NAME: name}


@pytest.mark.parametrize("name", _ALL)
def test_services_find_their_pods(name: str) -> None:
    service = found("single-region", "Service", name)["spec"]
    labels = found("single-region", "Deployment", name)["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    names = {port["name"] for port in container(name)["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= names
    assert (service.get("clusterIP") == "None") is (name != "gateway")


def test_everything_is_closed_that_is_not_named() -> None:
    deny = found("single-region", "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    gateway = found("single-region", "NetworkPolicy", "gateway")["spec"]
    assert gateway["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    services = found("single-region", "NetworkPolicy", "services")["spec"]
    assert {port["port"] for rule in services["ingress"] for port in rule["ports"]} == {50051}


@pytest.mark.parametrize(("overlay", "gpus"), [("two-regions/first", 4), ("two-regions/second", 2)])
def test_a_region_has_a_pod_a_gpu(overlay: str, gpus: int) -> None:
    assert found(overlay, "Deployment", "inference")["spec"]["replicas"] == gpus
    scaler = found(overlay, "HorizontalPodAutoscaler", "inference")["spec"]
    assert scaler["minReplicas"] <= gpus == scaler["maxReplicas"]
    budget = found(overlay, "PodDisruptionBudget", "inference")["spec"]
    assert budget["minAvailable"] < scaler["minReplicas"] or gpus > 2
    assert container("inference", overlay)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    settings = {one["name"]: one.get("value") for one in container("inference", overlay)["env"]}
    assert settings["CANDELA_DEVICE"] == "cuda"


def test_the_second_region_reads_from_its_own_replica() -> None:
    for name in ("user", "recognition"):
        settings = {one["name"]: one for one in container(name, "two-regions/second")["env"]}
        order = [one["name"] for one in container(name, "two-regions/second")["env"]]
        own = f"CANDELA_{name.upper()}_REPLICA_URL"
        assert settings[own]["value"] == f"$(DATABASE_REPLICA_URL)/candela_{name}"
        assert order.index("DATABASE_REPLICA_URL") < order.index(own)
        assert settings["DATABASE_REPLICA_URL"]["valueFrom"]["secretKeyRef"] == {
            "name": "db-secret",
            "key": "replica-url",
        }
