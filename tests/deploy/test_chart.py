"""The Helm chart lints, renders valid objects for each Kubernetes it claims, and keeps its promises."""

import re
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from canary.config import parse
from tests.deploy.chart import (
    ALL,
    CHART,
    CONFIG,
    LEAST,
    OF_THE_OPERATOR,
    RULES,
    TOKENS,
    VERSIONS,
    rendered,
    the,
)

both = pytest.mark.parametrize("values", [pytest.param(LEAST, id="least"), pytest.param(ALL, id="all")])


def pod(objects: list[dict[str, Any]], role: str) -> dict[str, Any]:
    spec: dict[str, Any] = the(objects, "Deployment", f"canary-{role}")["spec"]["template"]["spec"]
    return spec


@both
def test_it_lints(values: dict[str, Any]) -> None:
    found = helm_python.lint(CHART, values, strict=True)
    assert found["errors"] == []
    assert {each["error"] for each in found["messages"]} <= {"icon is recommended"}


@both
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_kubernetes(values: dict[str, Any], version: str) -> None:
    objects = [each for each in rendered(values) if each["kind"] not in OF_THE_OPERATOR]
    assert len(objects) >= 12
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


@both
def test_every_object_has_the_recommended_labels(values: dict[str, Any]) -> None:
    wanted = {
        f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "managed-by", "part-of")
    }
    for each in rendered(values):
        assert wanted <= each["metadata"]["labels"].keys(), each["kind"]


@both
@pytest.mark.parametrize("role", ["traffic", "admin"])
def test_pods_run_without_rights(values: dict[str, Any], role: str) -> None:
    spec = pod(rendered(values), role)
    (container,) = spec["containers"]
    assert container["args"] == ["serve", "--role", role]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not [each for each in container["env"] if "s" * 32 in str(each)], "tokens are files"


def job(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = the(objects, "CronJob", f"canary-{name}")["spec"]["jobTemplate"]["spec"][
        "template"
    ]["spec"]
    return spec


def test_no_job_runs_that_nobody_asked_for() -> None:
    assert not [each for each in rendered(LEAST) if each["kind"] in ("CronJob", "PersistentVolumeClaim")]


@pytest.mark.parametrize("name", ["watch", "sample"])
def test_jobs_run_without_rights_one_at_a_time_and_keep_their_files(name: str) -> None:
    objects = rendered(ALL)
    assert the(objects, "CronJob", f"canary-{name}")["spec"]["concurrencyPolicy"] == "Forbid"
    spec, server, begins = job(objects, name), pod(objects, "admin"), name == "watch"
    assert spec["securityContext"] == server["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == server["containers"][0]["securityContext"]
        assert container["env"][0] == {"name": "CANARY_DATA", "value": "/data/canary"}
        mounts = server["containers"][0]["volumeMounts"]
        assert container["volumeMounts"] == [each for each in mounts if begins or each["name"] != "tokens"]
    (data,) = [each for each in spec["volumes"] if each["name"] == "data"]
    claim = data["persistentVolumeClaim"]["claimName"]
    assert the(objects, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"]
    policy = the(objects, "NetworkPolicy", f"canary-{name}")["spec"]
    template = the(objects, "CronJob", f"canary-{name}")["spec"]["jobTemplate"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert policy["ingress"] == []


def test_the_watch_reaches_the_admin_to_begin_trials() -> None:
    objects = rendered(ALL)
    spec = job(objects, "watch")
    (container,) = spec["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    port = the(objects, "Service", "canary-admin")["spec"]["ports"][0]["port"]
    assert given["CANARY_ADMIN"] == f"http://canary-admin:{port}"
    (secret,) = [each["secret"] for each in spec["volumes"] if each["name"] == "tokens"]
    assert [f"/run/secrets/canary/{each['path']}" for each in secret["items"]] == [
        given["CANARY_ADMIN_TOKEN_FILE"]
    ]
    (rule,) = [
        each
        for each in the(objects, "NetworkPolicy", "canary-watch")["spec"]["egress"]
        if each["ports"] == [{"port": 8081, "protocol": "TCP"}]
    ]
    (admin,) = rule["to"]
    labels = the(objects, "Deployment", "canary-admin")["spec"]["template"]["metadata"]["labels"]
    assert admin["podSelector"]["matchLabels"].items() <= labels.items()
    (entry,) = the(objects, "NetworkPolicy", "canary-admin")["spec"]["ingress"]
    labels = the(objects, "CronJob", "canary-watch")["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    assert entry["from"][-1]["podSelector"]["matchLabels"].items() <= labels.items()


def test_jobs_run_the_commands_with_your_flags() -> None:
    objects = rendered(ALL)
    (watch,) = job(objects, "watch")["containers"]
    assert watch["args"] == ["watch", "--once", "--bench", "--match", "gpt-6*"]
    samples = job(objects, "sample")["containers"]
    assert [each["args"][1] for each in samples] == ["support-nov", "Sales.2"]
    assert samples[0]["command"] == ["sh", "-c"]
    assert 'canary dataset sample "$0" "/data/datasets/$0.jsonl"' in samples[0]["args"][0]


def test_a_claim_of_your_own_takes_the_place_of_the_charts() -> None:
    values = LEAST | {"jobs": {"watch": {"enabled": True}, "volume": {"existingClaim": "mine"}}}
    objects = rendered(values)
    assert not [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    (data,) = [each for each in job(objects, "watch")["volumes"] if each["name"] == "data"]
    assert data["persistentVolumeClaim"]["claimName"] == "mine"


def test_a_stream_of_ten_minutes_may_end_before_its_pod_does() -> None:
    spec = pod(rendered(LEAST), "traffic")
    (container,) = spec["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["CANARY_GRACE"] == "600s"
    slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= max(630, slept + 600 + 2 + 20)
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http", "scheme": "HTTP"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http", "scheme": "HTTP"}


def test_a_longer_grace_prolongs_the_pods_end() -> None:
    spec = pod(rendered(LEAST | {"traffic": {"graceSeconds": 1200}}), "traffic")
    assert spec["terminationGracePeriodSeconds"] == 15 + 1200 + 45


def test_the_spools_volume_is_larger_than_the_spool_may_get() -> None:
    volumes = {each["name"]: each for each in pod(rendered(LEAST), "traffic")["volumes"]}
    assert volumes["data"] == {"name": "data", "emptyDir": {"sizeLimit": "3Gi"}}


def test_probes_send_no_secret_where_the_health_paths_ask_for_one() -> None:
    (container,) = pod(rendered(ALL), "admin")["containers"]
    assert "tcpSocket" in container["readinessProbe"]
    monitor = the(rendered(ALL), "ServiceMonitor", "canary")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": "canary-tokens",
        "key": "CANARY_METRICS_TOKEN",
    }


def test_services_network_policies_and_budgets_select_the_pods_of_their_role() -> None:
    objects = rendered(ALL)
    for role in ("traffic", "admin"):
        labels = the(objects, "Deployment", f"canary-{role}")["spec"]["template"]["metadata"]["labels"]
        selectors = [
            the(objects, "Service", f"canary-{role}")["spec"]["selector"],
            the(objects, "NetworkPolicy", f"canary-{role}")["spec"]["podSelector"]["matchLabels"],
            the(objects, "PodDisruptionBudget", f"canary-{role}")["spec"]["selector"]["matchLabels"],
        ]
        for selector in selectors:
            assert selector.items() <= labels.items()
            assert selector["app.kubernetes.io/component"] == role


def test_prometheus_scrapes_both_roles() -> None:
    objects = rendered(ALL)
    wanted = the(objects, "ServiceMonitor", "canary")["spec"]["selector"]["matchLabels"]
    chosen = [
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Service" and wanted.items() <= each["metadata"]["labels"].items()
    ]
    assert sorted(chosen) == ["canary-admin", "canary-traffic"]
    for name in chosen:
        ports = {port["name"]: port["targetPort"] for port in the(objects, "Service", name)["spec"]["ports"]}
        assert ports["metrics"] == "admin"


@pytest.mark.parametrize("role", ["traffic", "admin"])
def test_a_certificate_is_mounted_as_a_folder_and_asked_for_by_probes_and_prometheus(role: str) -> None:
    lines = "tls: {cert_file: /run/tls/tls.crt, key_file: /run/tls/tls.key}\n"
    monitor = {"enabled": True, "interval": "15s"}
    values = LEAST | {"config": CONFIG + lines, "tls": {"secretName": "llm"}, "serviceMonitor": monitor}
    objects = rendered(values)
    for version in VERSIONS:
        kubernetes_validate.validate(the(objects, "Deployment", f"canary-{role}"), version, strict=True)
    spec = pod(objects, role)
    (container,) = spec["containers"]
    assert {"name": "tls", "mountPath": "/run/tls", "readOnly": True} in container["volumeMounts"]
    assert {"name": "tls", "secret": {"secretName": "llm", "defaultMode": 0o440}} in spec["volumes"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    (endpoint,) = the(objects, "ServiceMonitor", "canary")["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"insecureSkipVerify": True})


def test_a_certificate_that_the_config_does_not_name_is_refused_and_one_that_is_not_mounted() -> None:
    for values in (
        {"tls": {"secretName": "llm"}},
        {"config": f"{CONFIG}tls: {{cert_file: a, key_file: b}}\n"},
    ):
        with pytest.raises(helm_python.HelmError, match=r"tls\.secretName"):
            rendered(LEAST | values)


def test_the_rules_that_canary_writes_become_a_prometheus_rule() -> None:
    rule = the(rendered(ALL), "PrometheusRule", "canary")
    assert rule["spec"] == yaml.safe_load(RULES)


def test_secrets_of_your_own_take_the_place_of_the_charts() -> None:
    values = {
        "config": CONFIG,
        "tokens": {"existingSecret": "mine"},
        "environment": {"existingSecret": "keys"},
    }
    objects = rendered(values)
    assert not [each for each in objects if each["kind"] == "Secret"]
    spec = pod(objects, "traffic")
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["tokens"]["secret"]["secretName"] == "mine"
    assert spec["containers"][0]["envFrom"][0]["secretRef"]["name"] == "keys"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({"tokens": {"values": TOKENS}}, "config is empty", id="no config"),
        pytest.param({"config": CONFIG}, "tokens.values.CANARY_SECRET is missing", id="no tokens"),
        pytest.param(LEAST | {"prometheusRule": {"enabled": True}}, "rules is empty", id="no rules"),
        pytest.param(LEAST | {"jobs": {"sample": {"enabled": True}}}, "canaries is empty", id="no canary"),
        pytest.param(LEAST | {"trafic": {}}, "trafic", id="unknown value"),
        pytest.param(LEAST | {"tokens": {"values": {"CANARY_SECRET": "short"}}}, "CANARY_SECRET", id="short"),
        pytest.param(LEAST | {"tokens": {"names": ["CANARY_SECRET"]}}, "names", id="no admin token"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], told: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(told)):
        rendered(values)


def test_the_example_config_is_accepted_and_fits_several_replicas() -> None:
    addresses = {"DATABASE_URL": "postgresql://u:p@db/canary", "REDIS_URL": "redis://redis:6379/0"}
    config = parse(CONFIG, "canary.yaml", addresses)
    assert config.warnings == ()
    assert (config.store, config.shared) == (addresses["DATABASE_URL"], addresses["REDIS_URL"])


def test_pods_may_reach_what_the_example_config_names() -> None:
    named = {int(port) for port in re.findall(r"(?:HOST|alertmanager\S*):(\d+)", CONFIG)} | {443, 5432}
    policy = the(rendered(LEAST), "NetworkPolicy", "canary-admin")
    open_ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert named == {443, 5432, 6379, 9093}
    assert named <= open_ports


def test_a_reinstallation_under_another_name_gets_names_of_its_own() -> None:
    names = {each["metadata"]["name"] for each in rendered(LEAST, name="blue")}
    assert {name.removeprefix("blue-canary") for name in names} <= {"", "-traffic", "-admin", "-tokens"}
