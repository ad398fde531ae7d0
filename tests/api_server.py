"""A real kube-apiserver on an etcd of its own, where both were built; no pod ever runs on it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.tools import built

ROOT = Path(__file__).parents[1]
CHART = ROOT / "k8s" / "chart"
TOKEN = "of-a-server-that-lives-for-a-test"
START_S = 120
"""For a loaded machine; a quiet one takes three seconds."""


def everything_on() -> list[str]:
    """Arguments of helm that ask for all that the chart has, but what excludes something else."""
    return ["--values", str(Path(__file__).with_name("everything.yaml"))]


@dataclass(frozen=True)
class ApiServer:
    """One that answers, and who may do everything there."""

    url: str
    kubeconfig: Path
    client: httpx.Client

    def get(self, path: str) -> dict[str, Any]:
        """What lies there. Raises HTTPStatusError where nothing does."""
        answer = self.client.get(path).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def make(self, path: str, what: dict[str, Any], **query: str) -> httpx.Response:
        """Its answer to a strict POST: fields that it does not know are refused."""
        return self.client.post(path, json=what, params={"fieldValidation": "Strict", **query})


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """A server that knows the kinds of KEDA and prometheus-operator; skips where none was built."""
    etcd, apiserver, crds = built("etcd"), built("kube-apiserver"), built("crds")
    store, peer, port = (f"127.0.0.1:{free_port()}" for _ in range(3))
    _write_keys(folder)
    etcd_options = {
        "data-dir": folder / "etcd",
        "log-level": "error",
        "listen-client-urls": f"http://{store}",
        "advertise-client-urls": f"http://{store}",
        "listen-peer-urls": f"http://{peer}",
    }
    apiserver_options = {
        "etcd-servers": f"http://{store}",
        "bind-address": "127.0.0.1",
        "secure-port": port.partition(":")[2],
        "cert-dir": folder / "certificates",
        "token-auth-file": folder / "tokens.csv",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": folder / "accounts.pub",
        "service-account-signing-key-file": folder / "accounts.key",
        "service-cluster-ip-range": "10.96.0.0/16",
        "authorization-mode": "RBAC",
        # No controller makes the accounts of namespaces.
        "disable-admission-plugins": "ServiceAccount",
    }
    processes: list[subprocess.Popen[bytes]] = []
    with (folder / "log").open("wb") as log:
        try:
            for binary, options in ((etcd, etcd_options), (apiserver, apiserver_options)):
                command = [str(binary), *(f"--{name}={value}" for name, value in options.items())]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            url = f"https://{port}"
            with _client(url) as client:
                _wait(client, processes, folder / "log")
                server = ApiServer(url, _kubeconfig(folder, url), client)
                _add_kinds(server, crds)
                yield server
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _client(url: str) -> httpx.Client:
    # Its certificate is one that it makes at its start.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=url, verify=trusting, headers=headers, timeout=60)


def _write_keys(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "accounts.key").write_bytes(private)
    (folder / "accounts.pub").write_bytes(public)
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')


def _kubeconfig(folder: Path, url: str) -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": {"server": url, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


def _wait(client: httpx.Client, processes: list[subprocess.Popen[bytes]], log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        assert all(p.poll() is None for p in processes), log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def _add_kinds(server: ApiServer, crds: Path) -> None:
    for path in sorted(crds.glob("*.yaml")):
        kind = yaml.safe_load(path.read_text())
        answer = server.client.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=kind
        )
        assert answer.is_success, answer.text
    end = time.monotonic() + START_S
    paths = ("/apis/keda.sh/v1alpha1", "/apis/monitoring.coreos.com/v1")
    wanted = {
        "scaledobjects",
        "podmonitors",
        "servicemonitors",
        "prometheusrules",
        "triggerauthentications",
    }
    while not wanted <= {
        each["name"]
        for path in paths
        if (answer := server.client.get(path)).is_success
        for each in answer.json()["resources"]
    }:
        assert time.monotonic() < end, "the kinds are not served"
        time.sleep(0.2)
