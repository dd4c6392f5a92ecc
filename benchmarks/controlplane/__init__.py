"""Many ModelDeployments on a real control plane: requests, time, processor time and memory of the operator.

    .venv/bin/python -m benchmarks.controlplane              # 1,000 of them, about half an hour
    .venv/bin/python -m benchmarks.controlplane --objects 200 --rest-seconds 60

etcd, API server, controllers and scheduler are the real ones, the nodes are kwok's: pods become Ready without running.
The floor is what as many plain Deployments with the same pods take in the same run. `docs/scale.md` is its report.
"""
