"""`make status`: what runs on the cluster of `make up`, on one screen."""

import subprocess
import sys

from tools.cluster import KUBECONFIG, Cluster, CommandError, binaries
from tools.up import MONITORING, NAMESPACE


def main() -> int:
    if not KUBECONFIG.exists():
        print("status: no cluster here; `make up` starts one")
        return 1
    try:
        cluster = Cluster(binaries())
        print(cluster.kubectl("get", "nodes"))
        print(cluster.kubectl("get", "deployments,services,pods", "--namespace", NAMESPACE))
        if cluster.get("namespace", MONITORING):
            print(cluster.kubectl("get", "deployments,statefulsets,services,pods", "--namespace", MONITORING))
        print(cluster.kubectl("get", "modeldeployments", "--all-namespaces", "--output=wide"))
    except (CommandError, subprocess.TimeoutExpired) as error:
        print(f"status: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
