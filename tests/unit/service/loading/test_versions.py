import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.loading import versions
from fairlead_service.loading.versions import VersionPolicy

HERE = {"scikit-learn": "1.9.1", "numpy": "2.4.6", "scipy": "1.17.1", "python": "3.11.7"}

number = st.integers(0, 30).map(str)
version = st.builds(".".join, st.tuples(number, number, number))
declared = st.dictionaries(st.sampled_from(versions.COMPARED), version)


def refused(policy: VersionPolicy, pickled: bool = False, **trained: str) -> set[str]:
    named = {name.replace("_", "-"): value for name, value in trained.items()}
    return {difference.name for difference in versions.compare(named, HERE, policy, pickled=pickled).refused}


@pytest.mark.parametrize(
    ("trained", "pickled", "expected"),
    [
        ({"scikit_learn": "1.9.0"}, False, set()),
        ({"scikit_learn": "1.8.0"}, False, {"scikit-learn"}),
        ({"scikit_learn": "1.10.1"}, False, {"scikit-learn"}),
        ({"numpy": "2.0.0"}, False, set()),
        ({"numpy": "1.26.4"}, False, {"numpy"}),
        ({"python": "3.12.1"}, False, set()),
        ({"python": "3.12.1"}, True, {"python"}),
        ({"python": "3.11.1"}, True, set()),
        ({"scipy": "1.1"}, True, set()),
        ({}, True, set()),
    ],
)
def test_minor(trained: dict[str, str], pickled: bool, expected: set[str]) -> None:
    assert refused(VersionPolicy.MINOR, pickled, **trained) == expected
    assert refused(VersionPolicy.WARN, pickled, **trained) == set()


def test_message_names_both_sides_and_the_way_out() -> None:
    verdict = versions.compare({"scikit-learn": "0.24.2"}, HERE, VersionPolicy.MINOR, pickled=False)
    assert str(verdict.refused[0]) == (
        "model was trained with scikit-learn 0.24.2, this image has 1.9.1; "
        "retrain it or use an image with scikit-learn 0.24"
    )


@given(declared, declared, st.booleans())
def test_policies_are_ordered_and_lose_nothing(trained: dict[str, str], present: dict[str, str], pickled: bool) -> None:
    def refusals(policy: VersionPolicy) -> set[str]:
        verdict = versions.compare(trained, present, policy, pickled=pickled)
        everything = {difference.name for difference in (*verdict.refused, *verdict.tolerated)}
        assert everything == {name for name in trained if name in present and trained[name] != present[name]}
        return {difference.name for difference in verdict.refused}

    assert refusals(VersionPolicy.WARN) == set()
    assert refusals(VersionPolicy.MINOR) <= refusals(VersionPolicy.STRICT)


@given(declared, st.sampled_from(VersionPolicy), st.booleans())
def test_equal_versions_pass(present: dict[str, str], policy: VersionPolicy, pickled: bool) -> None:
    assert versions.compare(present, present, policy, pickled=pickled) == versions.Verdict((), ())


def test_installed() -> None:
    assert set(versions.installed()) == set(versions.COMPARED)
    assert "no-such-thing" not in versions.installed(["no-such-thing"])
