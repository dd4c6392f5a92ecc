"""`make stack`: `make up`, and beside Fairlead what watches and scales it: Prometheus, KEDA and Jaeger.

On kind from `charts/fairlead-stack`, on the local cluster from pinned Go modules, under the same names and ports. Done
again, it takes only as long as looking whether everything is there.
"""

import subprocess
import sys
from pathlib import Path

import yaml

from tools.cluster import LOCAL_CONTEXT, ROOT, STATE, Cluster
from tools.up import JAEGER, MODEL, MODELS, MONITORING, NAMESPACE, PROMETHEUS, Extension, command, tool

CHART = ROOT / "charts" / "fairlead-stack"
API_SERVICE = "v1beta1.external.metrics.k8s.io"

NEXT = f"""
Fairlead, Prometheus, KEDA and Jaeger run. Things to try:

  export KUBECONFIG={STATE.relative_to(ROOT)}/kubeconfig PATH={{path}}:$PWD/.venv/bin:$PATH
  kubectl port-forward --namespace {MONITORING} service/{PROMETHEUS} 9090
  curl -s localhost:9090/api/v1/query --data-urlencode 'query=http_requests_total{{{{model_deployment="{MODEL}"}}}}'
  kubectl port-forward --namespace {MONITORING} service/{JAEGER} 16686
  curl -s localhost:16686/api/v3/services
  kubectl port-forward --namespace {NAMESPACE} service/fairlead-api 8000  # then http://127.0.0.1:8000/docs
  kubectl describe modeldeployment {MODEL} --namespace {MODELS}
  kubectl fairlead doctor
  kubectl get scaledobjects,hpa --all-namespaces
  make status · make test-cluster · make down
"""


def fetched(chart: Path) -> bool:
    """Whether every chart that this one depends on is there, in the version it pins."""
    wanted = yaml.safe_load((chart / "Chart.yaml").read_text())["dependencies"]
    return all((chart / "charts" / f"{one['name']}-{one['version']}.tgz").exists() for one in wanted)


def add(cluster: Cluster) -> None:
    """Adds the stack to the cluster and waits until all of it works."""
    if cluster.kubectl("config", "current-context").strip() == LOCAL_CONTEXT:
        subprocess.run(tool("tools.localcluster", "stack"), cwd=ROOT, check=True)
        return
    if not fetched(CHART):
        cluster.helm("dependency", "update", str(CHART))
    cluster.helm(
        "upgrade", "--install", MONITORING, str(CHART), "--namespace", MONITORING, "--create-namespace",
        "--wait", "--timeout", "10m",
    )  # fmt: skip
    cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=120s")


STACK = Extension("stack", ", with Prometheus, KEDA and Jaeger", "stack", add)

if __name__ == "__main__":
    sys.exit(command(NEXT, STACK))
