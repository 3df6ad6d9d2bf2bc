"""Update masks: which fields of a resource a change may name."""

from collections.abc import Collection

from services.kit.errors import FieldViolation, InvalidArgument


def check_mask(paths: Collection[str], what: str, *, changeable: Collection[str], output_only: Collection[str]) -> None:
    """Refuse with InvalidArgument a mask that is empty or names what cannot be changed; `what` is `a user`, say."""
    wrong = [path for path in paths if path not in changeable]
    if paths and not wrong:
        return

    def why(path: str) -> str:
        state = "cannot be changed" if path in output_only else f"is no field of {what}"
        return f"{path!r} {state}; use {', '.join(changeable)}"

    violations = [FieldViolation("update_mask", why(path), rule="update_mask.path") for path in wrong]
    if not paths:
        violations = [FieldViolation("update_mask", "must name at least one field", rule="required")]
    raise InvalidArgument(
        f"update_mask: {violations[0].description}", violations=violations, metadata={"paths": ",".join(wrong)}
    )
