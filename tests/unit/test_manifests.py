"""What `deploy/` says fits the published schemas, the settings, the metrics and the routes that there are."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from compose_spec import PyCompose as Compose

from app.http.scopes import ROUTES
from app.serve import GRACE_S
from app.settings import PREFIX, Settings
from app.telemetry.series import FAMILIES
from app.telemetry.series import PREFIX as METRIC

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
#: An older release that clusters still run, and the newest that the schemas know.
VERSIONS = ("1.31", "1.37")
#: Beyond the drain and what is under way: ending links to a store that answers slowly.
MARGIN_S = 5

Document = dict[str, Any]


def documents() -> list[Document]:
    """Of the cluster; `kustomization.yaml` is for kubectl alone, and a test of its own speaks of it."""
    files = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml"})
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def named(kind: str, name: str) -> Document:
    return next(each for each in documents() if (each["kind"], each["metadata"]["name"]) == (kind, name))


def deployments() -> list[Document]:
    return [each for each in documents() if each["kind"] == "Deployment"]


def check(document: Document, version: str = VERSIONS[-1]) -> None:
    """Raises for what the published schemas refuse: types, required members, members that do not exist."""
    kind = document["kind"]
    if kind == "ServiceMonitor":
        # The models of the operator's own schema pass over what they do not know: what they give back has lost it.
        known = ServiceMonitor.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json")
        if known != document:
            raise ValueError(f"{kind} has members that its schema does not: {document} read as {known}")
    else:
        kubernetes_validate.validate(document, version, strict=True)


def check_compose(document: Document) -> None:
    Compose.from_json(json.dumps(document))


def compose() -> Document:
    loaded: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_its_kind(version: str) -> None:
    kinds = set()
    for document in documents():
        check(document, version)
        kinds.add(document["kind"])
    wanted = {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor"}
    assert wanted | {"NetworkPolicy", "ConfigMap"} <= kinds


def test_the_compose_file_fits_the_compose_specification() -> None:
    check_compose(compose())
    assert {"server", "worker", "archive", "valkey", "prometheus"} == set(compose()["services"])


def members(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all members of all mappings in it."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if isinstance(node, dict):
            yield (*path, key)
        yield from members(child, (*path, key))


def misspelt(document: Document, path: tuple[Any, ...]) -> Document:
    """The same with one member's name a letter longer."""
    wrong = copy.deepcopy(document)
    parent: Any = wrong
    for key in path[:-1]:
        parent = parent[key]
    parent[f"{path[-1]}x"] = parent.pop(path[-1])
    return wrong


#: Under these, names are the user's own.
FREE = {"labels", "matchLabels", "data", "annotations", "limits", "requests", "environment", "services", "volumes"}
FREE |= {"secrets", "depends_on"}


def is_free(path: tuple[Any, ...]) -> bool:
    """Whether a member's name is the user's own: any is right."""
    return str(path[0]).startswith("x-") or "/" in path[-1] or (len(path) > 1 and path[-2] in FREE)


def is_refused(checked: Callable[[Document], None], document: Document) -> bool:
    try:
        checked(document)
    except Exception:  # each schema tool has its own, and where `kind` is misspelt there is none to ask
        return True
    return False


def test_a_misspelt_member_of_any_manifest_is_noticed_wherever_it_stands() -> None:
    tried = set()
    for document in documents():
        for path in members(document):
            place = (document["kind"], *(key for key in path if isinstance(key, str)))
            if place in tried or is_free(path):
                continue
            tried.add(place)
            assert is_refused(check, misspelt(document, path)), place
    assert len(tried) > 150


def test_a_misspelt_member_of_the_compose_file_is_noticed_wherever_it_stands() -> None:
    whole = compose()
    tried = 0
    for path in members(whole):
        if not is_free(path):
            tried += 1
            assert is_refused(check_compose, misspelt(whole, path)), path
    assert tried > 50


def test_kustomize_applies_every_file_of_the_folder() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(file.name for file in KUBERNETES.glob("*.yaml"))


def variables(container: Document) -> dict[str, str]:
    """What a container is told that starts with our prefix."""
    told = {each["name"]: each.get("value", "x" * 32) for each in container["env"]}
    return {**named("ConfigMap", "nextbest")["data"], **told}


def test_every_variable_is_a_setting_with_a_value_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [variables(each["spec"]["template"]["spec"]["containers"][0]) for each in deployments()]
    told += [service.get("environment", {}) for service in compose()["services"].values()]
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for environment in told:
        assert set(environment) <= known
        given = environment | ({"NEXTBEST_REDIS_URL": "redis://store.example.com"} if environment else {})
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            Settings()


def test_pods_may_finish_what_they_have_begun() -> None:
    settings = named("ConfigMap", "nextbest")["data"]
    server = named("Deployment", "nextbest")["spec"]["template"]["spec"]
    assert server["terminationGracePeriodSeconds"] >= int(settings["NEXTBEST_DRAIN_S"]) + GRACE_S + MARGIN_S
    probe = server["containers"][0]["readinessProbe"]
    assert (
        int(settings["NEXTBEST_DRAIN_S"]) > probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    )
    service = compose()["services"]["server"]
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    assert grace_s >= int(service["environment"]["NEXTBEST_DRAIN_S"]) + GRACE_S + MARGIN_S


def test_probes_ask_for_what_there_is_and_restarts_do_not_depend_on_the_store() -> None:
    container = named("Deployment", "nextbest")["spec"]["template"]["spec"]["containers"][0]
    public = {path for method, path, scope in ROUTES if method == "GET" and scope == "public"}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in public
        assert asked["port"] in {port["name"] for port in container["ports"]}
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_selectors_find_the_pods_they_mean() -> None:
    pods = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in deployments()}
    for each in deployments():
        assert each["spec"]["selector"]["matchLabels"] == pods[each["metadata"]["name"]]
    server = pods["nextbest"]
    assert named("Service", "nextbest")["spec"]["selector"] == server
    assert named("PodDisruptionBudget", "nextbest")["spec"]["selector"]["matchLabels"] == server
    monitored = named("ServiceMonitor", "nextbest")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= named("Service", "nextbest")["metadata"]["labels"].items()
    target = named("HorizontalPodAutoscaler", "nextbest")["spec"]["scaleTargetRef"]
    assert named(target["kind"], target["name"])["spec"].get("replicas") is None  # two would set it
    policies = {each["metadata"]["name"]: each["spec"] for each in documents() if each["kind"] == "NetworkPolicy"}
    assert policies["nextbest-server"]["podSelector"]["matchLabels"] == server
    assert all("Ingress" in policies[name]["policyTypes"] for name in ("nextbest-server", "nextbest-beside"))


def test_containers_run_as_the_user_of_the_image_and_may_do_nothing_else() -> None:
    image = (ROOT / "Dockerfile").read_text()
    for each in deployments():
        pod = each["spec"]["template"]["spec"]
        assert f"--uid {pod['securityContext']['runAsUser']}" in image
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} == set(container["resources"]["requests"])
        assert {"memory"} == set(container["resources"]["limits"])
        assert "value" not in str([e for e in container["env"] if e["name"].endswith(("_URL", "_KEY"))]).replace(
            "valueFrom", ""
        )


def test_every_metric_that_scaling_and_alerts_ask_for_is_one_that_the_server_tells() -> None:
    known = {f"{METRIC}{family.name}{end}" for family in FAMILIES for end in ("", "_sum", "_count", "_bucket")}
    asked = set()
    for file in ("prometheus-adapter.yaml", "alerts.yaml"):
        asked |= set(re.findall(rf"\b{METRIC}\w+", (DEPLOY / file).read_text()))
    assert len(asked) >= 6
    assert asked <= known
    metric = named("HorizontalPodAutoscaler", "nextbest")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    rule = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"][0]
    counted = rule["seriesQuery"].split("{")[0]
    assert re.sub(rule["name"]["matches"], rule["name"]["as"].replace("${1}", r"\1"), counted) == metric


def test_every_secret_that_is_referred_to_is_explained() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    referred = set(re.findall(r"secretKeyRef: \{name: ([\w-]+)", "".join(f.read_text() for f in KUBERNETES.glob("*"))))
    referred |= set(re.findall(r"secretName: ([\w-]+)", (KUBERNETES / "server.yaml").read_text()))
    referred.add(named("ServiceMonitor", "nextbest")["spec"]["endpoints"][0]["authorization"]["credentials"]["name"])
    assert referred == {"nextbest", "nextbest-keys", "nextbest-metrics"}
    for name in referred:
        assert f"create secret generic {name} " in page


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's `prometheus`")
def test_prometheus_takes_its_configuration_and_the_alerts(tmp_path: Path) -> None:
    def promtool(*words: str) -> int:
        return subprocess.run(["promtool", *words], capture_output=True, check=False).returncode

    alerts, told = DEPLOY / "alerts.yaml", DEPLOY / "prometheus.yml"
    assert promtool("check", "rules", str(alerts)) == 0
    assert promtool("check", "config", "--syntax-only", str(told)) == 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(alerts.read_text().replace("expr:", "exprs:", 1))
    assert promtool("check", "rules", str(wrong)) != 0
    wrong.write_text(told.read_text().replace("scrape_configs", "scrape_config"))
    assert promtool("check", "config", "--syntax-only", str(wrong)) != 0
