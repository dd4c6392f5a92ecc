from pathlib import Path

from tests.unit.service.native.corpus import compare_all


def test_every_model_of_the_corpus_answers_as_scikit_learn_does(tmp_path: Path) -> None:
    number, found = compare_all(tmp_path)
    assert found == []
    assert number >= 200
