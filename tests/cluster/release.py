"""The installed chart, and upgrades of it."""

from dataclasses import dataclass
from pathlib import Path

from tools.cluster import Cluster
from tools.up import NAMESPACE, RELEASE


@dataclass(frozen=True)
class Release:
    """The installed chart and the values it was installed with."""

    cluster: Cluster
    values: Path

    @classmethod
    def of(cls, cluster: Cluster, scratch: Path) -> "Release":
        values = scratch / "values.yaml"
        values.write_text(cluster.helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "yaml"))
        return cls(cluster, values)

    def upgrade(self, *changes: str) -> None:
        """`helm upgrade` with the first values and `changes` (`key=value`) on top of them; waits until all is ready."""
        settings = [part for change in changes for part in ("--set", change)]
        self.cluster.helm(
            "upgrade", RELEASE, "charts/fairlead", "-n", NAMESPACE, "--reset-values", "-f", str(self.values), *settings,
            "--wait", "--timeout=3m",
        )  # fmt: skip
