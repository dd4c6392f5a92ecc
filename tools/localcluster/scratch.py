"""Container images FROM scratch with one static program, written without any builder."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path


def reference(program: Path) -> str:
    """The image's name: its tag is the program's cache key, so that a new build is a new image."""
    return f"fairlead.dev/{program.name}:{program.parent.name.rpartition('-')[2]}"


def write_archive(program: Path, archive: Path) -> str:
    """Write an image in the form of `docker save`; give its name. The same program makes the same bytes."""
    path = f"bin/{program.name}"  # where Prometheus' operator calls its reloader; /prometheus is for Prometheus' data
    layer = _tar({path: (program.read_bytes(), 0o755)})
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [f"/{path}"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    blob = json.dumps(config).encode()
    name = f"{hashlib.sha256(blob).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference(program)], "Layers": ["layer.tar"]}]
    files = {"manifest.json": json.dumps(manifest).encode(), name: blob, "layer.tar": layer}
    fresh = archive.with_suffix(".new")
    fresh.write_bytes(_tar({path: (content, 0o644) for path, content in files.items()}))
    fresh.replace(archive)
    return reference(program)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
