import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.failures import LoadError
from fairlead_service.loading.labels import json_labels
from fairlead_service.models.bundle import Label
from fairlead_service.training.data import label_array

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda label: not label.endswith("\0"))
labels = st.one_of(
    st.lists(st.booleans(), min_size=1),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.integers(-(2**40), 2**40).map(float), min_size=1),
    st.lists(text, min_size=1),
)


@given(labels)
def test_labels_come_back_with_their_json_type(target: list[Label]) -> None:
    array = label_array(target)
    assert json.dumps(array.tolist()) == json.dumps(target)
    classes = json_labels(np.unique(array))
    assert {(type(label), label) for label in classes} == {(type(label), label) for label in target}


@pytest.mark.parametrize(
    "classes", [np.array([b"a"]), np.array(["2026-01-01"], dtype="M8[D]"), np.array([None, (1,)], dtype=object)]
)
def test_labels_that_json_does_not_have(classes: np.ndarray) -> None:
    with pytest.raises(LoadError, match="class label"):
        json_labels(classes)
