"""Command line: see `--help`."""

import argparse
import sys

from tools.localcluster import __doc__ as about
from tools.localcluster import binaries, images
from tools.localcluster.cluster import LocalCluster
from tools.localcluster.paths import Checkout, LocalClusterError


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.localcluster", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the cluster, or say that it is up")
    default = binaries.DEFAULT_KUBERNETES
    up.add_argument("--kubernetes", choices=binaries.KUBERNETES_VERSIONS, default="", help=f"version, else {default}")
    down = commands.add_parser("down", help="stop the cluster and leave nothing of it; images and programs are kept")
    down.add_argument("--purge", action="store_true", help="remove images and built programs, too")
    commands.add_parser("status", help="what runs; code 1 if the cluster is not up")
    commands.add_parser("restart-apiserver", help="for tests: an upgrade of the control plane, without the upgrade")
    stack = commands.add_parser("stack", help="put Prometheus, KEDA and Jaeger onto the cluster")
    stack.add_argument("--adapter", action="store_true", help="and prometheus-adapter, for autoscaling's engine HPA")
    load = commands.add_parser("load", help="bring images from buildah's storage into the cluster")
    load.add_argument("image", nargs="+", help="for example fairlead-service:0123456789ab")
    build = commands.add_parser("binaries", help="build programs; print the directory that they can be called from")
    build.add_argument(
        "name", nargs="*", help=f"those of `make up` and `make test`, or some of: {', '.join(binaries.names())}"
    )
    build.add_argument("--kubernetes", choices=binaries.KUBERNETES_VERSIONS, default=default)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """0 done; 1 the cluster is not up (`status`) or something the user can mend; 130 interrupted."""
    arguments = _arguments(words)
    cluster = LocalCluster()
    try:
        match arguments.command:
            case "up":
                cluster.up(arguments.kubernetes)
            case "down":
                cluster.down(purge=arguments.purge)
            case "status":
                return 0 if cluster.status() else 1
            case "restart-apiserver":
                cluster.restart_apiserver()
            case "stack":
                cluster.install_stack(adapter=arguments.adapter)
            case "load":
                cluster.require()
                images.load(arguments.image, cluster.say)
            case "binaries":
                names = arguments.name or binaries.names(arguments.kubernetes, extra=False)
                binaries.link(binaries.ensure(names, kubernetes=arguments.kubernetes), Checkout().bin)
                print(Checkout().bin)
    except LocalClusterError as error:
        print(f"localcluster: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"localcluster: {error}. The cluster is root's: run this as root", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("localcluster: interrupted; the next `up` or `down` cleans up what was begun", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
