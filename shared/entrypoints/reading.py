"""Reading requests: bodies into models with every fault named, and what else a request carries."""

import re
from types import UnionType
from typing import Annotated, Any, TypeAliasType, Union, get_args, get_origin, get_type_hints

import azure.functions as func
import msgspec

from shared.core.errors import BulkheadError, FieldError, Kind, not_valid
from shared.core.text import VISIBLE

LARGEST_BODY = 256 * 1024  # bytes; the largest sensible body is a candidate with addresses, a few kilobytes

_LOOKED_AT = 100  # items of a list; those of a longer one are told by what msgspec finds first

_PATH = re.compile(r" - at `\$([^`]*)`$")
_ENTITY_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')  # RFC 9110, section 8.8.3
_FORM = re.compile(r"Expected `str` matching regex '\^\(\?:(.*)\)\$\(\?!\\\\n\)'")  # as core.text.whole writes it
_JSON = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}  # msgspec names Python's types
_TYPE = re.compile(rf"\b(?:{'|'.join(_JSON)})\b")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]")


def body[B: msgspec.Struct](request: func.HttpRequest, model: type[B]) -> B:
    """The JSON body as `model`. Raises BulkheadError: too_large, unsupported_media_type, invalid, unprocessable."""
    raw = request.get_body() or b""
    if len(raw) > LARGEST_BODY:
        raise BulkheadError(Kind.TOO_LARGE, "body_too_large", f"The body is larger than {LARGEST_BODY} bytes.")
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise BulkheadError(Kind.UNSUPPORTED_MEDIA_TYPE, "not_json", "The body must be application/json.")
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BulkheadError(Kind.UNSUPPORTED_MEDIA_TYPE, "encoded", "The body must not be compressed.")
    if not raw:  # also what the platform makes of a chunked body
        raise BulkheadError(Kind.INVALID, "malformed_json", "There is no body. Send JSON with a Content-Length.")
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BulkheadError(Kind.INVALID, "malformed_json", "The body is not valid JSON.") from None
    return parse(data, model)


def parse[B: msgspec.Struct](data: Any, model: type[B]) -> B:
    """`data` as `model`. Raises BulkheadError (unprocessable) naming each faulty field, never a value."""
    if not isinstance(data, dict):
        raise not_valid(FieldError("", "Expected an object."))
    try:
        return msgspec.convert(data, model)
    except msgspec.ValidationError:
        raise not_valid(*_faults_of_object(data, model, "")) from None


def _faults_of_object(data: dict[str, Any], model: type[msgspec.Struct], pointer: str) -> list[FieldError]:
    hints = get_type_hints(model, include_extras=True)
    faults: list[FieldError] = []
    for field in msgspec.structs.fields(model):
        place = f"{pointer}/{field.encode_name}"
        if field.encode_name in data:
            faults += _faults(data[field.encode_name], hints[field.name], place)
        elif field.required:
            faults.append(FieldError(place, "This field is required."))
    known = {field.encode_name for field in msgspec.structs.fields(model)}
    if model.__struct_config__.forbid_unknown_fields and not data.keys() <= known:
        told = f"There is a field that is not known here. Known are: {', '.join(sorted(known))}."
        faults.append(FieldError(pointer, told))
    return faults


def _faults(value: Any, hint: Any, pointer: str) -> list[FieldError]:
    """What is wrong with `value`: of an object or a list of objects everything, else what msgspec finds first."""
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        inside: list[FieldError] = []
        for part in _parts(hint):
            if isinstance(value, dict) and isinstance(part, type) and issubclass(part, msgspec.Struct):
                inside += _faults_of_object(value, part, pointer)
            elif isinstance(value, list) and get_origin(part) is tuple:
                for number, item in enumerate(value[:_LOOKED_AT]):
                    inside += _faults(item, get_args(part)[0], f"{pointer}/{number}")
        return inside or [_fault(pointer, str(error))]
    return []


def _parts(hint: Any) -> list[Any]:
    """The types that a type may be: unions taken apart, names and annotations taken off."""
    if isinstance(hint, TypeAliasType):
        return _parts(hint.__value__)
    if get_origin(hint) is Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [part for one in get_args(hint) for part in _parts(one)]
    return [hint]


def _fault(pointer: str, message: str) -> FieldError:
    """From msgspec's message to a pointer and a text. Texts that could quote the input are replaced."""
    if found := _PATH.search(message):
        message = message[: found.start()]
        for name, index in _STEP.findall(found.group(1)):
            pointer += f"/{name or index}"
    if found := _FORM.fullmatch(message):
        form = found.group(1).replace(r"\\", "\\")
        told = "text that is not blank, without control characters" if form == VISIBLE else f"text of the form {form}"
        return FieldError(pointer, f"Expected {told}.")
    if message.startswith("Invalid RFC3339 encoded date"):
        return FieldError(pointer, "Expected a date, YYYY-MM-DD.")
    if message.startswith(("Expected", "Object missing required field")):
        return FieldError(pointer, _TYPE.sub(lambda found: _JSON[found[0]], message).replace("`", "'") + ".")
    return FieldError(pointer, "This value is not allowed.")


def allowed_values(annotation: Any) -> tuple[str, ...]:
    """The texts that a Literal (also behind an alias) allows."""
    while isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    return tuple(str(value) for value in get_args(annotation))


def require_known_parameters(request: func.HttpRequest, known: tuple[str, ...]) -> None:
    """Raise BulkheadError (invalid) for a parameter of the query string that would have no effect."""
    if not request.params.keys() <= set(known):
        told = f"Known are: {', '.join(known)}." if known else "None is known."
        raise BulkheadError(Kind.INVALID, "unknown_parameter", f"There is a parameter that is not known here. {told}")


def if_match(request: func.HttpRequest) -> str:
    """The If-Match header: one entity tag, or `*`. Raises BulkheadError: precondition_required without, invalid."""
    value: str = request.headers.get("If-Match", "").strip()
    if not value:
        raise BulkheadError(
            Kind.PRECONDITION_REQUIRED, "if_match_required", "Send If-Match with the ETag of the state to change."
        )
    if value != "*" and not _ENTITY_TAG.fullmatch(value):
        raise BulkheadError(
            Kind.INVALID, "invalid_if_match", "If-Match must be one ETag as it was given, with its quotes, or *."
        )
    return value


def idempotency_key(request: func.HttpRequest) -> str | None:
    """The Idempotency-Key header, bare or as a quoted string (RFC 8941). Raises BulkheadError (invalid)."""
    value: str | None = request.headers.get("Idempotency-Key")
    if value is None:
        return None
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable():
        raise BulkheadError(
            Kind.INVALID, "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters."
        )
    return value
