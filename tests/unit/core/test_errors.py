import pytest

from shared.core.errors import BulkheadError, FieldError, Kind, bare, not_found, not_valid


def test_an_error_carries_a_code_and_a_detail() -> None:
    error = BulkheadError(
        Kind.THROTTLED, "busy", "Try later.", retry_after=1.5, fields=(FieldError("/name", "Too long."),)
    )
    assert str(error) == "busy: Try later."
    assert (error.kind, error.code, error.detail, error.retry_after) == (Kind.THROTTLED, "busy", "Try later.", 1.5)
    assert [(field.pointer, field.detail) for field in error.fields] == [("/name", "Too long.")]


def test_absent_and_foreign_objects_look_the_same() -> None:
    one, other = not_found("report"), not_found("report")
    assert one.kind is Kind.NOT_FOUND
    assert (one.code, one.detail, one.fields, one.retry_after) == (
        other.code, other.detail, other.fields, other.retry_after,
    )  # fmt: skip


def test_every_fault_is_named() -> None:
    error = not_valid(FieldError("/name", "Too long."), FieldError("", "Expected an object."))
    assert (error.kind, error.code) == (Kind.UNPROCESSABLE, "validation_failed")
    assert [field.pointer for field in error.fields] == ["/name", ""]


def test_a_bare_error_keeps_nothing_of_how_it_came_about() -> None:
    def fail() -> None:
        try:
            {}["what was sent"]
        except KeyError as cause:
            raise ValueError("invalid literal") from cause

    with pytest.raises(ValueError, match="invalid literal") as caught:
        fail()
    error = caught.value
    assert None not in (error.__traceback__, error.__cause__, error.__context__)
    assert bare(error) is error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert "invalid literal" in str(error)
