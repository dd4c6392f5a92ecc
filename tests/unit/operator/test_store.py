"""The store ends with the newest state, in whatever order it hears of it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.kinds import MODEL_DEPLOYMENT, POD, SERVICE
from fairlead_operator.store import Key, Store
from tests.unit.operator import samples


def service(version: int, uid: str = "u") -> dict[str, Any]:
    labels = {"fairlead.dev/model-deployment": "fraud"}
    metadata = {"name": "fraud", "namespace": "ml", "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"kind": "Service", "metadata": metadata, "spec": {"v": version}}


@given(st.integers(0, 8), st.booleans(), st.data())
def test_the_order_of_the_news_does_not_matter(changes: int, deleted: bool, data: st.DataObject) -> None:
    news = [("put", service(version)) for version in range(1, changes + 2)]
    if deleted:
        news.append(("remove", service(changes + 2)))
    store = Store()
    for action, obj in data.draw(st.permutations(news)):
        getattr(store, action)(SERVICE, obj)

    found = store.get(SERVICE, "ml", "fraud")
    assert (found is None) if deleted else (found is not None and found["spec"]["v"] == changes + 1)


def test_an_object_that_lost_our_label_may_come_back() -> None:
    store = Store()
    store.put(SERVICE, service(1))
    store.remove(SERVICE, service(2))
    assert not store.put(SERVICE, service(1)), "an answer that was under way must not bring it back"
    assert store.put(SERVICE, service(3))


def test_a_list_finds_what_a_watch_missed_but_nothing_newer_than_itself() -> None:
    store = Store()
    store.put(SERVICE, service(5))
    assert store.prune(SERVICE, "", set(), listed_version=4) == []
    assert store.prune(SERVICE, "elsewhere", set(), listed_version=6) == []
    assert store.prune(SERVICE, "ml", {Key("ml", "fraud")}, listed_version=6) == []
    assert store.get(SERVICE, "ml", "fraud") is not None
    assert [obj["spec"]["v"] for obj in store.prune(SERVICE, "ml", set(), listed_version=6)] == [5]
    assert store.get(SERVICE, "ml", "fraud") is None


@given(samples.names)
def test_a_child_leads_to_its_resource(name: str) -> None:
    store = Store()
    resource = samples.raw(name)
    store.put(MODEL_DEPLOYMENT, resource)
    label = samples.naming.child_name(name)
    labels = {"fairlead.dev/model-deployment": label}
    metadata = {"name": "p", "namespace": "ml", "uid": "p", "resourceVersion": "1", "labels": labels}
    pod = {"kind": "Pod", "metadata": metadata, "spec": {"big": "thing"}}
    store.put(POD, pod)

    assert store.key_of(POD, pod) == Key("ml", name)
    assert [found["metadata"]["name"] for found in store.pods("ml", label)] == ["p"]
    assert "spec" not in store.pods("ml", label)[0]
    store.remove(MODEL_DEPLOYMENT, resource)
    store.remove(POD, pod)
    assert store.key_of(POD, pod) is None
    assert store.pods("ml", label) == []
    assert store.resources() == []
