"""Prometheus, KEDA and Jaeger on the local cluster, where their charts and images can't be pulled.

Under the names, labels and ports that `charts/fairlead-stack` gives them as release `monitoring`, so that Fairlead, its
tests and its documentation need not know which of the two it is. Left out: Grafana and Alertmanager, which are no
pinned Go modules. The objects are pure functions of the images' names; `install` alone touches the cluster.
"""

from typing import Final

NAMESPACE: Final = "monitoring"
