"""A real single-node Kubernetes without Docker: `python -m tools.localcluster up`.

etcd, the Kubernetes programs, CoreDNS and Helm are built once from Go modules pinned in `modules/`; containerd, runc
and the CNI plugins are the distribution's. Standard library only, so that it works before any virtual environment.

Who calls it: `make up` (where there is no Docker for kind), the control-plane tests (`ControlPlane` alone) and the
cluster tests. One cluster a machine, for root. NetworkPolicy objects are accepted and **not enforced** by its network.
"""
