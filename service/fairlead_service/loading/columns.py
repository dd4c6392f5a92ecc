"""Which columns a model takes, and in which order: its estimator, its signature and its input example compared.

A model may describe its input three times, and people write each at another moment: the estimator remembers what it
was fitted on (`feature_names_in_`), the signature and the example are of whatever frame was at hand when it was logged.
The estimator is right. Where the others have the same columns in another order, the fitted order counts; where they
lack one, the model is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError, corrupt, unsupported
from fairlead_service.loading.example import Example, Rows
from fairlead_service.loading.mlmodel import NUMERIC_TYPES, Inputs, too_wide
from fairlead_service.models.bundle import MOST_COLUMNS, Placement

_NAMES_SHOWN: Final = 10


@dataclass(frozen=True)
class Columns:
    """The columns of the matrices that a model is served by."""

    n_features: int
    names: tuple[str, ...] | None
    placement: Placement | None
    """Where they are among those that the estimator was fitted on, if it has more and drops them."""
    example: Rows | None
    """The input example in these columns."""
    warnings: tuple[str, ...] = ()

    @property
    def fitted_width(self) -> int:
        """Columns of the matrices that the estimator itself takes."""
        return self.n_features if self.placement is None else self.placement.width


def agree(estimator: Any, declared: Inputs | None, example: Example | None) -> Columns:
    """The columns that a fitted estimator is served by.

    Raises LoadError: ModelUnsupported if the signature contradicts the estimator or a column that is needed is no
    number, SelfTestFailed if the example contradicts them, ModelCorrupt.
    """
    fitted = fitted_names(estimator)
    width = _width(estimator, declared, example)
    if fitted is not None and len(fitted) != width:
        raise corrupt(f"the model's contents contradict each other: {len(fitted)} feature names for {width} features")
    by_name = fitted is not None and declared is not None and declared.names is not None
    if declared is not None and not by_name and declared.n_features != width:
        raise unsupported(f"the model takes {width} features but its signature declares {declared.n_features}")
    names = fitted if fitted is not None or declared is None else declared.names
    in_signature = _places(names, declared.names if declared is not None else None, width)
    in_example = _places(names, example.names if example is not None else None, width)
    used = _used(estimator, width, declared, in_signature, example, in_example)
    if declared is not None:
        _check_signature(names, declared, in_signature, used)
    kept = None if names is None else tuple(names[position] for position in used)
    return Columns(
        n_features=len(used),
        names=kept,
        placement=None if len(used) == width else Placement(width=width, places=tuple(used)),
        example=None if example is None else _rows(example, names, in_example, used, width),
        warnings=_warnings(names, declared, used) if by_name and declared is not None else (),
    )


def fitted_names(estimator: Any) -> tuple[str, ...] | None:
    """The columns that an estimator was fitted on; None if it has no names of them that differ."""
    names = _first_to_say(estimator, "feature_names_in_")
    if names is None:
        return None
    found = tuple(names.tolist() if hasattr(names, "tolist") else names)
    if not all(isinstance(name, str) for name in found):
        raise corrupt("the model's contents contradict each other: its feature names are no strings")
    return found if len(set(found)) == len(found) else None


def _first_to_say(estimator: Any, attribute: str) -> Any:
    """The attribute of an estimator; of a pipeline that begins with steps that pass everything on, of what follows."""
    found = getattr(estimator, attribute, None)
    if found is None and hasattr(estimator, "steps"):
        first = _first_step(estimator)
        return None if first is None else _first_to_say(first, attribute)
    return found


def _first_step(pipeline: Any) -> Any:
    return next((step for _, step in pipeline.steps if not _passes(step)), None)


def _passes(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _width(estimator: Any, declared: Inputs | None, example: Example | None) -> int:
    width = _first_to_say(estimator, "n_features_in_")
    if width is None and declared is not None:
        width = declared.n_features
    if width is None and example is not None:
        width = example.width
    if width is None:
        raise unsupported("nothing says how many features the model takes; log it with an input_example or a signature")
    if int(width) < 1:
        raise corrupt(f"the model's contents contradict each other: it takes {int(width)} features")
    if int(width) > MOST_COLUMNS:
        raise too_wide(int(width))
    return int(width)


def _places(names: Sequence[str] | None, described: Sequence[str] | None, width: int) -> list[int | None]:
    """For each column of the estimator where it is in a description: by its name where both have names, else by its
    position; None if it is not there."""
    if names is None or described is None:
        return list(range(width))
    where = {name: position for position, name in enumerate(described)}
    return [where.get(name) for name in names]


def _used(
    estimator: Any,
    width: int,
    declared: Inputs | None,
    in_signature: Sequence[int | None],
    example: Example | None,
    in_example: Sequence[int | None],
) -> list[int]:
    """All columns but those that are no numbers, or not described at all, and that the model drops unseen."""
    dropped = _dropped(estimator, width)
    if not dropped:
        return list(range(width))

    def needless(position: int) -> bool:
        if position not in dropped:
            return False
        described, shown = in_signature[position], in_example[position]
        if declared is not None:
            return described is None or described in declared.odd
        return example is not None and (shown is None or (shown < example.width and example.is_odd(shown)))

    return [position for position in range(width) if not needless(position)] or list(range(width))


def _dropped(estimator: Any, width: int) -> frozenset[int]:
    """Positions of columns that no part of a pipeline looks at: its first step is a ColumnTransformer without them."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    first = estimator
    while type(first) is Pipeline:
        first = _first_step(first)
    if type(first) is not ColumnTransformer or getattr(first, "n_features_in_", None) != width:
        return frozenset()
    looked_at: set[int] = set()
    for name, part, _ in first.transformers_:
        if not (isinstance(part, str) and part == "drop"):
            looked_at |= {int(position) % width for position in first._transformer_to_input_indices[name]}
    return frozenset(range(width)) - looked_at


def _check_signature(
    names: Sequence[str] | None, declared: Inputs, in_signature: Sequence[int | None], used: Sequence[int]
) -> None:
    missing = [names[position] for position in used if in_signature[position] is None] if names is not None else []
    if missing:
        raise unsupported(
            f"the model was fitted on columns that its signature lacks: {_listed(missing)}; log it again with the "
            "signature of the frame that it was fitted on (mlflow.models.infer_signature)"
        )
    for position in used:
        kind = declared.odd.get(in_signature[position])  # type: ignore[arg-type]
        if kind is not None:
            name = position if names is None else names[position]
            raise unsupported(
                f"input column {name!r} is of type {kind}; Fairlead serves numeric matrices only "
                f"({', '.join(sorted(NUMERIC_TYPES))}): encode such columns before the model"
            )


def _rows(
    example: Example,
    names: Sequence[str] | None,
    in_example: Sequence[int | None],
    used: Sequence[int],
    width: int,
) -> Rows | None:
    """The example in the columns that are used. Raises LoadError(SelfTestFailed) if it has other columns."""
    by_name = names is not None and example.names is not None
    missing = [names[position] for position in used if in_example[position] is None] if names is not None else []
    if missing:
        raise _other_example(f"lacks {_listed(missing)}, which the model was fitted on")
    if by_name or example.width == width:
        return example.numbers([place for position in used if (place := in_example[position]) is not None])
    if example.width == len(used):
        return example.numbers(range(len(used)))
    raise _other_example(f"has {example.width} columns, the model takes {len(used)}")


def _other_example(what: str) -> LoadError:
    message = f"the model was loaded but its input example {what}; log it with rows that it was fitted on"
    return LoadError(FailureReason.SELF_TEST_FAILED, message)


def _warnings(names: Sequence[str] | None, declared: Inputs, used: Sequence[int]) -> tuple[str, ...]:
    assert names is not None
    assert declared.names is not None
    kept = [names[position] for position in used]
    found = []
    if [name for name in declared.names if name in set(kept)] != kept:
        found.append(
            "the signature lists the columns in another order than the model was fitted on; rows without names are "
            f"read in the fitted order: {_listed(kept)}"
        )
    extra = [name for name in declared.names if name not in set(kept)]
    if extra:
        found.append(f"the signature has {len(extra)} columns that the model does not use: {_listed(extra)}")
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(repr(name[:100]) for name in names[:_NAMES_SHOWN]) + more
