"""Images of buildah's storage → the cluster's containerd."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools.localcluster import node, progress
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say, run


def full_name(image: str) -> str:
    """What Kubernetes makes of an image's name: `x:1` is `docker.io/library/x:1`."""
    name = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def load(images: Iterable[str], say: Say) -> None:
    """Import what the cluster lacks. LocalClusterError for an image that buildah does not have."""
    present = node.images()
    for image in images:
        name = full_name(image)
        if name in present and not name.endswith(":latest"):
            say(f"{image} is in the cluster already")
            continue
        if run(["buildah", "inspect", "--type=image", image], check=False).returncode:
            raise LocalClusterError(f"no image {image} in buildah's storage (`buildah images` lists them)")
        with (
            progress.stage(f"loading {image}", say),
            tempfile.TemporaryDirectory(prefix="fairlead-image-", dir="/var/tmp") as scratch,
        ):
            archive = Path(scratch) / "image.tar"
            run(["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{name}"])
            node.import_archive(archive)
