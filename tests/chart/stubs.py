"""Stand-ins for the charts that fairlead-stack depends on, in archives as `helm dependency build` leaves them.

Each has the name and version that Chart.yaml pins. It renders the values that reach it, and those objects
of the real chart, under their names, that our pages and templates rely on.
"""

import io
import shutil
import tarfile
from pathlib import Path

import yaml

from tests.chart.rendering import STACK

VALUES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "values-of-{{ .Chart.Name }}", namespace: "{{ .Release.Namespace }}"}
data: {values: {{ toJson .Values | quote }}}
"""
KUBE_PROMETHEUS_STACK = """
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}{{- $name = printf "%s-%s" $name .Chart.Name }}{{- end }}
{{- $name = .Values.fullnameOverride | default $name | trunc 26 | trimSuffix "-" }}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ $name }}-prometheus", namespace: "{{ .Release.Namespace }}"}
spec: {ports: [{name: http-web, port: {{ ((.Values.prometheus).service).port | default 9090 }}}]}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}-grafana", namespace: "{{ .Release.Namespace }}"}
spec: {ports: [{name: http-web, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}-grafana", namespace: "{{ .Release.Namespace }}"}
spec:
  template:
    spec:
      containers:
        - name: grafana
          env:
            {{- $secret := ((.Values.grafana).admin).existingSecret | default (printf "%s-grafana" .Release.Name) }}
            - {name: GF_SECURITY_ADMIN_USER, valueFrom: {secretKeyRef: {name: "{{ $secret }}", key: admin-user}}}
{{- if not ((.Values.grafana).admin).existingSecret }}
---
apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-grafana", namespace: "{{ .Release.Namespace }}"}
stringData: {admin-user: admin, admin-password: generated}
{{- end }}
"""
JAEGER = """
{{- $name := .Values.fullnameOverride | default (printf "%s-jaeger" .Release.Name) }}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ $name }}", namespace: "{{ .Release.Namespace }}"}
spec: {ports: [{name: otlp-grpc, port: 4317}, {name: otlp-http, port: 4318}, {name: http-query, port: 16686}]}
"""
FETCHED = shutil.ignore_patterns("charts", "Chart.lock")
"""What `helm dependency` makes in a chart's directory."""
OBJECTS = {"kube-prometheus-stack": KUBE_PROMETHEUS_STACK, "jaeger": JAEGER}


def with_dependencies(directory: Path) -> Path:
    """A copy of the stack below `directory`, with an archive of each dependency in its `charts`."""
    copy = directory / STACK.name
    shutil.copytree(STACK, copy, ignore=FETCHED)
    add_dependencies(copy)
    return copy


def add_dependencies(chart: Path) -> None:
    """What `helm dependency update` does, with stand-ins."""
    (chart / "charts").mkdir()
    for dependency in yaml.safe_load((chart / "Chart.yaml").read_text())["dependencies"]:
        name, version = dependency["name"], dependency["version"]
        (chart / "charts" / f"{name}-{version}.tgz").write_bytes(archive(name, version))


def archive(name: str, version: str) -> bytes:
    """One stand-in, packaged."""
    files = {
        "Chart.yaml": yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version}),
        "templates/objects.yaml": VALUES + OBJECTS.get(name, ""),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
