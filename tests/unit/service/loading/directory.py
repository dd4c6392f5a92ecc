"""A source of models whose files are on disk instead of in MLflow, to shape them as no honest store would."""

from pathlib import Path

from fairlead_service.loading import reference as refs
from fairlead_service.loading.source import Listing, ResolvedModel

RUN = "6f2c" * 8
URI = f"runs:/{RUN}/model"


class Directory:
    """Model files in a directory; claims other sizes than there are if told to."""

    def __init__(self, root: Path, **claims: int | None) -> None:
        self.root = root
        self.claims = claims

    def resolve(self, reference: refs.Reference) -> ResolvedModel:
        return ResolvedModel(refs.written(reference), RUN, None, str(self.root))

    def artifacts(self, model: ResolvedModel) -> "Directory":
        return self

    def listing(self) -> Listing:
        files = {path.name: path.stat().st_size for path in self.root.iterdir() if path.is_file()}
        return Listing(files | self.claims, frozenset(path.name for path in self.root.iterdir() if path.is_dir()))

    def below(self, name: str) -> "Directory":
        return Directory(self.root / name)

    def download(self, name: str, path: Path, limit: int) -> None:
        path.write_bytes((self.root / name).read_bytes())
