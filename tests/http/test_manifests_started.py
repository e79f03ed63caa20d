"""The containers of `deploy/kubernetes`, started as their manifests say: arguments, settings, secrets, mounts, probes,
on a root that cannot be written. What is not tried here: images, users, and what a cluster does with them."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from moto.server import ThreadedMotoServer
from pyarrow import fs

from app import keys_file
from app.archiving.folder import MARK
from app.settings import DEMO_BUNDLE
from app.store.embedded import end_with_us
from app.store.keys import CTL_WORKERS
from tests.support.ports import free_port
from tests.support.valkey import Store

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
#: Nothing takes so long, however busy the machine.
HANGS_AFTER_S = 60.0
#: Folders that a container may write; then the root is nobody's. 97: it was somebody's after all.
ON_A_READ_ONLY_ROOT = """
mount --make-rprivate / || exit 98
for folder in $WRITABLE; do mount --bind "$folder" "$folder" || exit 98; done
mount -o remount,bind,ro / || exit 98
touch /written-by-a-test 2>/dev/null && exit 97
exec "$@"
"""


def read_only_roots() -> bool:
    """Whether this machine lets a process have a view of its own of what is mounted."""
    try:
        tried = subprocess.run(["unshare", "-rm", "mount", "--make-rprivate", "/"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


def manifest(component: str) -> Any:
    documents = (each for file in KUBERNETES.glob("*.yaml") for each in yaml.safe_load_all(file.read_text()))
    return next(
        each
        for each in documents
        if each["kind"] == "Deployment" and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )


def image_settings() -> dict[str, str]:
    """What the last stage of the Dockerfile puts into the environment."""
    stage = (ROOT / "Dockerfile").read_text().rsplit("\nFROM ", 1)[1].replace("\\\n", " ")
    return dict(re.findall(r"(NEXTBEST_\w+)=(\S+)", stage))


@dataclass(frozen=True)
class Pod:
    """A container, with folders of this machine in the place of what is mounted and of the image's volumes."""

    deployment: Any
    environment: dict[str, str]
    writable: list[Path]
    port: int

    @property
    def container(self) -> Any:
        return self.deployment["spec"]["template"]["spec"]["containers"][0]

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        inner = [sys.executable, "-c", "from app.cli import main; main()", *self.container["args"]]
        assert self.container["securityContext"]["readOnlyRootFilesystem"]
        command = ["unshare", "-rm", "sh", "-c", ON_A_READ_ONLY_ROOT, "sh", *inner]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
        environment |= self.environment | {"WRITABLE": " ".join(map(str, self.writable))}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        watchdog = end_with_us(process.pid)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            watchdog.kill()
            watchdog.communicate()

    def until(self, holds: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + HANGS_AFTER_S
        while not holds():
            assert process.poll() is None, f"it ended with {process.returncode}"
            assert time.monotonic() < give_up_at
            time.sleep(0.05)  # what another process comes to do

    def ends_in_time(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(self.deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0

    def answers(self, path: str, key: str = "") -> int:
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=10).status_code
        except httpx.TransportError:
            return 0


def pod(component: str, folder: Path, secrets: Mapping[str, str], **instead: str) -> Pod:
    deployment = manifest(component)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    config = next(yaml.safe_load_all((KUBERNETES / "settings.yaml").read_text()))
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    told = {**image_settings(), **config["data"]}
    for each in container["env"]:
        told[each["name"]] = each["value"] if "value" in each else secrets[each["valueFrom"]["secretKeyRef"]["key"]]
    places = {"/bundle": DEMO_BUNDLE, "/data": folder / "data"}
    places |= {each["mountPath"]: folder / each["name"] for each in container["volumeMounts"]}
    for place in places.values():
        place.mkdir(exist_ok=True)
    read_only = {each["mountPath"] for each in container["volumeMounts"] if each.get("readOnly")} | {"/bundle"}
    for name, value in told.items():
        mounted = next((mount for mount in places if value == mount or value.startswith(f"{mount}/")), None)
        if mounted is not None:
            told[name] = value.replace(mounted, str(places[mounted]), 1)
    port = free_port()
    # Of this machine are: the port, a drain that a test has the time for, and the interpreter's own temporary folder.
    told |= {"NEXTBEST_PORT": str(port), "NEXTBEST_DRAIN_S": "0.2", "TMPDIR": str(places["/tmp"]), **instead}
    return Pod(deployment, told, [place for mount, place in places.items() if mount not in read_only], port)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    store.start()
    yield store
    store.remove()


pytestmark = pytest.mark.skipif(not read_only_roots(), reason="no process may have a read-only root here")


def secrets(store: Store) -> dict[str, str]:
    return {"redis-url": store.url, "hash-key": "ab" * 32}


def test_a_server_begins_is_ready_is_scraped_and_ends_within_its_grace(store: Store, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    _, key = keys_file.add(tmp_path / "keys" / "keys.jsonl", ["read"])
    server = pod("server", tmp_path, secrets(store))
    scraped = next(
        each
        for each in yaml.safe_load_all((KUBERNETES / "monitoring.yaml").read_text())
        if each["kind"] == "ServiceMonitor"
    )["spec"]["endpoints"][0]
    probes = [server.container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    ports = {each["name"] for each in server.container["ports"]}
    assert {scraped["port"], *(probe["port"] for probe in probes)} <= ports
    with server.running() as process:
        for probe in probes:
            server.until(lambda probe=probe: server.answers(probe["path"]) == 200, process)  # type: ignore[misc]  # mypy infers no lambda with a default
        assert server.answers(scraped["path"]) == 401
        assert server.answers(scraped["path"], key) == 200
        server.ends_in_time(process)


def test_a_worker_begins_and_ends_within_its_grace(store: Store, tmp_path: Path) -> None:
    worker = pod("worker", tmp_path, secrets(store))
    with worker.running() as process:
        worker.until(lambda: b":1\r\n" in store.command("EXISTS", CTL_WORKERS), process)
        worker.ends_in_time(process)


def test_an_archiver_begins_its_archive_in_the_bucket_and_ends_within_its_grace(store: Store, tmp_path: Path) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    objects = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    objects.start()
    try:
        host = ":".join(map(str, objects.get_host_and_port()))
        where = {"scheme": "http", "region": "us-east-1", "endpoint_override": host}
        bucket = fs.S3FileSystem(access_key="key", secret_key="secret", allow_bucket_creation=True, **where)
        bucket.create_dir("pods")
        address = (
            f"s3://key:secret@pods/nextbest?scheme=http&region=us-east-1&endpoint_override={host.replace(':', '%3A')}"
        )
        archiver = pod("archive", tmp_path, secrets(store), NEXTBEST_ARCHIVE=address)
        with archiver.running() as process:
            mark = f"pods/nextbest/{MARK}"
            archiver.until(lambda: bucket.get_file_info(mark).type == fs.FileType.File, process)
            archiver.ends_in_time(process)
    finally:
        objects.stop()
