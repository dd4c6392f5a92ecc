"""Images of buildah's or Docker's storage → the cluster's containerd."""

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


def load(images: Iterable[str], say: Say, *, docker: bool = False) -> None:
    """Import what the cluster lacks, from buildah's storage or Docker's. LocalClusterError for an unknown image."""
    engine = "docker" if docker else "buildah"
    present = node.images()
    for image in images:
        name = full_name(image)
        if name in present and not name.endswith(":latest"):
            say(f"{image} is in the cluster already")
            continue
        if run([engine, "inspect", "--type=image", image], check=False).returncode:
            raise LocalClusterError(f"no image {image} in {engine}'s storage (`{engine} images` lists them)")
        with (
            progress.stage(f"loading {image}", say),
            tempfile.TemporaryDirectory(prefix="fairlead-image-", dir="/var/tmp") as scratch,
        ):
            archive = Path(scratch) / "image.tar"
            if docker:
                run(["docker", "save", "--output", archive, image])
            else:
                run(["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{name}"])
            node.import_archive(archive)
            node.ctr("images", "rm", f"localhost/{image}")  # buildah's own name comes along; no pod uses it
