"""The latest object of everything watched: what `reconcile` reads instead of asking the API server.

Fed by watch events, by the answers to our own writes, and by lists; the three come in any order, so an object is
never replaced by an older one. Lists also find what a watch missed: objects deleted while it was broken.

Objects are kept as compressed JSON text, a small part of what they take as dicts, and read anew by everybody
who asks for one.
"""

import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Container
from typing import Any, Final, NamedTuple, Self

import orjson

from fairlead_operator.api import Manifest
from fairlead_operator.census import Census
from fairlead_operator.desired.naming import child_name
from fairlead_operator.kinds import CHILDREN, DEPLOYMENT, MODEL_DEPLOYMENT, POD, Kind
from fairlead_operator.observe import deployment_essentials, label_of, pod_essentials

REMEMBERED_DELETIONS: Final = 4096
_LEVEL: Final = 1
_UNREAD: Final = frozenset({"managedFields", "resourceVersion"})


class Key(NamedTuple):
    """Where an object is. Of a ModelDeployment: what the work queue holds."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Manifest) -> Self:
        return cls(obj["metadata"]["namespace"], obj["metadata"]["name"])


class _Kept(NamedTuple):
    version: int
    text: bytes
    """Without the version: equal texts tell the same."""
    label: str
    """The children's name that it carries."""


class Store:
    def __init__(self) -> None:
        self._objects: dict[tuple[str, Key], _Kept] = {}
        self._pods: defaultdict[Key, set[str]] = defaultdict(set)
        self._parents: dict[Key, Key] = {}
        self._deleted: OrderedDict[tuple[str, Key], int] = OrderedDict()
        self.census = Census()

    def put(self, kind: Kind, obj: Manifest) -> bool:
        """Takes an object in; says whether that changed anything that is kept. An autoscaler writes what it measures
        into its status many times a minute: that is no news."""
        place = (kind.kind, Key.of(obj))
        known, new = self._objects.get(place), version(obj)
        newest = known.version if known is not None else self._deleted.get(place, -1)
        if newest >= new:
            return False
        self._deleted.pop(place, None)
        if known is not None:
            self._unindex(kind, place[1], known)
        kept = self._objects[place] = _Kept(new, zlib.compress(orjson.dumps(_slim(kind, obj)), _LEVEL), label_of(obj))
        self.census.note(kind, obj)
        self._index(kind, place[1], kept)
        return known is None or known.text != kept.text

    def remove(self, kind: Kind, obj: Manifest) -> bool:
        """Forgets an object that was deleted (or lost our label), unless a newer one is here already. Remembers when
        it went, so that an answer that was under way meanwhile does not bring it back."""
        return self._remove(kind, Key.of(obj), version(obj))

    def prune(self, kind: Kind, namespace: str, listed: Container[Key], listed_version: int) -> list[Manifest]:
        """Forgets what a whole list of a namespace (empty: of all) did not hold, but nothing that is newer than the
        list; returns what it forgot."""
        gone = [
            (key, known)
            for (known_kind, key), known in self._objects.items()
            if known_kind == kind.kind
            and namespace in ("", key.namespace)
            and key not in listed
            and known.version <= listed_version
        ]
        return [_read(known) for key, known in gone if self._remove(kind, key, known.version)]

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        known = self._objects.get((kind.kind, Key(namespace, name)))
        return None if known is None else _read(known)

    def pods(self, namespace: str, label: str) -> list[Manifest]:
        """Pods with this owner label."""
        names = self._pods.get(Key(namespace, label), set())
        return [_read(self._objects[POD.kind, Key(namespace, name)]) for name in names]

    def resources(self) -> list[Key]:
        """All ModelDeployments."""
        return list(self._parents.values())

    def key_of(self, kind: Kind, obj: Manifest) -> Key | None:
        """The ModelDeployment an object belongs to, if there is one."""
        if kind is MODEL_DEPLOYMENT:
            return Key.of(obj)
        return self.owner(obj["metadata"]["namespace"], label_of(obj))

    def owner(self, namespace: str, label: str) -> Key | None:
        """The ModelDeployment whose children have this name."""
        return self._parents.get(Key(namespace, label))

    def _remove(self, kind: Kind, key: Key, at: int) -> bool:
        place = (kind.kind, key)
        known = self._objects.get(place)
        if known is not None and known.version > at:
            return False
        self._deleted[place] = max(at, self._deleted.get(place, -1))
        self._deleted.move_to_end(place)
        while len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        if known is None:
            return False
        self._unindex(kind, key, known)
        self.census.forget(kind, key)
        del self._objects[place]
        return True

    def _index(self, kind: Kind, key: Key, kept: _Kept) -> None:
        if kind is MODEL_DEPLOYMENT:
            self._parents[Key(key.namespace, child_name(key.name))] = key
        elif kind is POD:
            self._pods[Key(key.namespace, kept.label)].add(key.name)

    def _unindex(self, kind: Kind, key: Key, kept: _Kept) -> None:
        if kind is MODEL_DEPLOYMENT:
            self._parents.pop(Key(key.namespace, child_name(key.name)), None)
        elif kind is POD:
            owner = Key(key.namespace, kept.label)
            self._pods[owner].discard(key.name)
            if not self._pods[owner]:
                del self._pods[owner]


def version(obj: Manifest) -> int:
    """Resource versions of one kind are comparable numbers (Kubernetes says so since 1.35, etcd always did)."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def _read(kept: _Kept) -> Manifest:
    obj: Manifest = orjson.loads(zlib.decompress(kept.text))
    obj["metadata"]["resourceVersion"] = str(kept.version)
    return obj


def _slim(kind: Kind, obj: Manifest) -> Manifest:
    """Without what nobody reads: it is most of the memory, and most of what changes."""
    if kind is POD:
        return pod_essentials(obj)
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _UNREAD}
    slim: dict[str, Any] = {**obj, "metadata": metadata}
    if kind is DEPLOYMENT:
        return deployment_essentials(slim)
    if kind.kind in CHILDREN:
        slim.pop("status", None)
    return slim
