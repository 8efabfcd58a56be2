import copy
import json
import logging
import pickle
import traceback
from typing import Any

import msgspec
import pytest

from shared.core.secret import Secret, SecretForgottenError

VALUE = "correct-horse-battery-staple"


@pytest.fixture
def secret() -> Secret:
    return Secret(VALUE)


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        ascii,
        format,
        lambda secret: f"{secret!r:>80}",
        lambda secret: f"{secret:>80}",
        "{:s}".format,
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - likewise
        lambda secret: str([secret, {"key": secret}, (secret,)]),
        lambda secret: repr(secret.__getstate__()),
    ],
)
def test_text_of_it_is_masked(secret: Secret, shown: Any) -> None:
    try:
        text = shown(secret)
    except TypeError as error:
        text = str(error)
    assert VALUE not in text


def test_a_format_that_asks_for_the_text_gets_the_mask(secret: Secret) -> None:
    assert f"{secret}" == f"{secret:>40}" == str(secret) == repr(secret) == "Secret(***)"


def test_a_traceback_with_locals_is_masked(secret: Secret) -> None:
    def fails(credential: Secret) -> None:
        raise ValueError(credential)

    with pytest.raises(ValueError, match="Secret") as caught:
        fails(secret)
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "credential = Secret(***)" in text
    assert VALUE not in text


def test_a_traceback_out_of_the_secret_itself_is_masked(secret: Secret) -> None:
    secret.forget()
    with pytest.raises(SecretForgottenError) as caught:
        secret.reveal()
    assert VALUE not in "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())


def test_logging_is_masked(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("got %s and %r", secret, {"key": secret})
    assert "Secret(***)" in caplog.text
    assert VALUE not in caplog.text


@pytest.mark.parametrize(
    "serialise",
    [
        *(lambda secret, protocol=protocol: pickle.dumps(secret, protocol) for protocol in range(6)),
        copy.copy,
        copy.deepcopy,
        lambda secret: copy.deepcopy({"nested": [secret]}),
        json.dumps,
        lambda secret: json.dumps({"nested": [secret]}),
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        lambda secret: msgspec.json.encode({"nested": [secret]}),
        lambda secret: secret.__reduce__(),
        vars,
        hash,
        iter,
        bytes,
    ],
)
def test_it_cannot_be_serialised_copied_or_iterated(secret: Secret, serialise: Any) -> None:
    with pytest.raises(TypeError) as caught:
        serialise(secret)
    assert VALUE not in str(caught.value)


def test_a_struct_that_holds_one_is_neither_shown_nor_serialised(secret: Secret) -> None:
    class Holder(msgspec.Struct):
        value: Secret

    assert VALUE not in repr(Holder(secret))
    with pytest.raises(TypeError):
        msgspec.json.encode(Holder(secret))


def test_only_reveal_gives_it_until_it_is_forgotten(secret: Secret) -> None:
    assert secret.reveal() == VALUE
    assert not secret.forgotten
    secret.forget()
    secret.forget()
    assert secret.forgotten
    for use in (secret.reveal, lambda: secret.fingerprint("x"), lambda: secret == Secret("x")):
        with pytest.raises(SecretForgottenError):
            use()


def test_equal_values_are_equal_and_other_types_never_are(secret: Secret) -> None:
    assert secret == Secret(VALUE)
    assert secret != Secret(VALUE + "x")
    assert secret != VALUE
    assert secret.__eq__(VALUE) is NotImplemented


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="never empty"):
        Secret("")


def test_a_fingerprint_is_stable_and_differs_by_label_and_value(secret: Secret) -> None:
    mark = secret.fingerprint("account-a")
    assert mark == Secret(VALUE).fingerprint("account-a")
    assert len(mark) == 16
    assert int(mark, 16) >= 0
    assert mark != secret.fingerprint("account-b")
    assert mark != Secret("another").fingerprint("account-a")
