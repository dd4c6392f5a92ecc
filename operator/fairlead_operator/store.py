"""The latest object of everything watched: what `reconcile` reads instead of asking the API server.

Fed by watch events, by the answers to our own writes, and by lists; the three come in any order, so an object is
never replaced by an older one. Lists also find what a watch missed: objects deleted while it was broken.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from fairlead_operator.api import Manifest
from fairlead_operator.desired.naming import child_name
from fairlead_operator.kinds import CHILDREN, MODEL_DEPLOYMENT, POD, Kind
from fairlead_operator.observe import label_of

REMEMBERED_DELETIONS: Final = 4096


class Key(NamedTuple):
    """A ModelDeployment: what the work queue holds."""

    namespace: str
    name: str


class Store:
    def __init__(self) -> None:
        self._objects: dict[tuple[str, Key], Manifest] = {}
        self._pods: defaultdict[Key, dict[str, Manifest]] = defaultdict(dict)
        self._parents: dict[Key, Key] = {}
        self._deleted: OrderedDict[tuple[str, Key], int] = OrderedDict()

    def put(self, kind: Kind, obj: Manifest) -> bool:
        """Takes an object in; says whether that changed anything that is kept. An autoscaler writes what it measures
        into its status many times a minute: that is no news."""
        place = (kind.kind, _key(obj))
        known = self._objects.get(place)
        newest = version(known) if known is not None else self._deleted.get(place, -1)
        if newest >= version(obj):
            return False
        self._deleted.pop(place, None)
        if known is not None:
            self._unindex(kind, known)
        self._objects[place] = _slim(kind, obj)
        self._index(kind, self._objects[place])
        return known is None or _content(known) != _content(self._objects[place])

    def remove(self, kind: Kind, obj: Manifest) -> bool:
        """Forgets an object that was deleted (or lost our label), unless a newer one is here already. Remembers when
        it went, so that an answer that was under way meanwhile does not bring it back."""
        place = (kind.kind, _key(obj))
        known = self._objects.get(place)
        if known is not None and version(known) > version(obj):
            return False
        self._deleted[place] = max(version(obj), self._deleted.get(place, -1))
        self._deleted.move_to_end(place)
        while len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        if known is None:
            return False
        self._unindex(kind, known)
        del self._objects[place]
        return True

    def replace(self, kind: Kind, items: Iterable[Manifest], listed_version: int) -> list[Manifest]:
        """Takes a whole list in; returns the objects that were news, deleted ones with them."""
        items = list(items)
        listed = {_key(item) for item in items}
        gone = [
            known
            for (known_kind, key), known in self._objects.items()
            if known_kind == kind.kind and key not in listed and version(known) <= listed_version
        ]
        return [obj for obj in gone if self.remove(kind, obj)] + [item for item in items if self.put(kind, item)]

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self._objects.get((kind.kind, Key(namespace, name)))

    def pods(self, namespace: str, label: str) -> list[Manifest]:
        """Pods with this owner label."""
        return list(self._pods.get(Key(namespace, label), {}).values())

    def resources(self) -> list[Key]:
        """All ModelDeployments."""
        return list(self._parents.values())

    def key_of(self, kind: Kind, obj: Manifest) -> Key | None:
        """The ModelDeployment an object belongs to, if there is one."""
        if kind is MODEL_DEPLOYMENT:
            return _key(obj)
        return self._parents.get(Key(obj["metadata"]["namespace"], label_of(obj)))

    def _index(self, kind: Kind, obj: Manifest) -> None:
        namespace, name = _key(obj)
        if kind is MODEL_DEPLOYMENT:
            self._parents[Key(namespace, child_name(name))] = Key(namespace, name)
        elif kind is POD:
            self._pods[Key(namespace, label_of(obj))][name] = obj

    def _unindex(self, kind: Kind, obj: Manifest) -> None:
        namespace, name = _key(obj)
        if kind is MODEL_DEPLOYMENT:
            self._parents.pop(Key(namespace, child_name(name)), None)
        elif kind is POD:
            pods = self._pods[Key(namespace, label_of(obj))]
            pods.pop(name, None)
            if not pods:
                del self._pods[Key(namespace, label_of(obj))]


def version(obj: Manifest) -> int:
    """Resource versions of one kind are comparable numbers (Kubernetes says so since 1.35, etcd always did)."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def _key(obj: Manifest) -> Key:
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _content(slim: Manifest) -> Manifest:
    metadata = {name: value for name, value in slim["metadata"].items() if name != "resourceVersion"}
    return {**slim, "metadata": metadata}


def _slim(kind: Kind, obj: Manifest) -> Manifest:
    """Without what nobody reads: of 1,000 pods it is most of the memory."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    slim: dict[str, Any] = {**obj, "metadata": metadata}
    if kind is POD:
        slim.pop("spec", None)
    if kind.kind in CHILDREN and kind.kind != "Deployment":
        slim.pop("status", None)
    return slim
