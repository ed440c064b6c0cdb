"""The sentences that a caller reads of a body that is not in the format, and what is read all the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from schemas import FORMATS, BadCallback, CannotSay, FormatOptions, Message, NumberContext, ReceiveContext, enrich, wire
from tests import acme

CONTEXT = ReceiveContext(now=acme.NOW, sid="0d9c1d3e-2b7f-4f6e-9d35-0f0e6a1b2c3d")
FORM = "application/x-www-form-urlencoded"


def read(name: str, body: bytes, content_type: str | None = None) -> Message:
    return FORMATS[name].load(body, content_type, CONTEXT)


def faults(name: str, body: bytes, content_type: str | None = None) -> Mapping[str, tuple[str, ...]]:
    with pytest.raises(BadCallback) as caught:
        read(name, body, content_type)
    return caught.value.errors


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("media_urls", "http://a.test/", "Not an array of strings."),
        ("media_urls", [1], "Not an array of strings."),
        ("group_recipients", "15162065515", "Not an array of phone numbers."),
        ("legacy", [], "Not an object of the keyword platform's fields."),
        ("legacy", {"title": 1}, "Not an object of the keyword platform's fields."),
        ("mcc", -1, "Not a whole number."),
        ("mcc", 10**9, "Not a whole number."),
        ("mcc", True, "Not a whole number."),
        ("price", [], "Not a price."),
        ("price", True, "Not a price."),
        ("date_created", "yesterday", "Not an ISO-8601 date."),
        ("date_created", "2026-13-01T00:00:00Z", "Not an ISO-8601 date."),
        ("date_created", 5, "Not an ISO-8601 date."),
        ("to_did", True, "Not a phone number, short code or sender's name."),
        ("to_did", "", "Not a phone number, short code or sender's name."),
        ("to_did", -5, "Not a phone number, short code or sender's name."),
    ],
)
def test_what_is_said_of_an_attribute(attribute: str, value: object, sentence: str) -> None:
    name = "to" if attribute == "to_did" else attribute
    assert faults("carrierx", acme.text(**{attribute: value})) == {name: (sentence,)}


def test_two_names_for_one_number() -> None:
    assert faults("carrierx", acme.text(to="15162065900")) == {"to": ("Comes under two names with two values.",)}
    # Ten digits stay ten digits in this format, under either name.
    assert read("carrierx", acme.text(to_did="5162065919", to="516-206-5919")).to == "5162065919"


def test_all_faults_are_named_at_once() -> None:
    body = acme.text(to="15162065900", mcc=-1)
    assert faults("carrierx", body).keys() == {"to", "mcc"}
    with pytest.raises(BadCallback, match=r"^mcc: Not a whole number\.; to: Comes under two names with two values\.$"):
        read("carrierx", body)


def test_faults_of_one_name_stand_together() -> None:
    assert str(BadCallback({"to": ["One.", "Two."], "mcc": ("Three.",)})) == "to: One. Two.; mcc: Three."


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"\xef\xbb\xbf{}", "Begins with a byte order mark."),
        (b"[" * 33 + b"]" * 33, "Nested deeper than 32."),
        (b'{"message": "\xff"}', "Not UTF-8."),
        (b'{"a": 1,\n "b"}', "Not JSON: Expecting ':' delimiter (line 2, column 5)."),
        (b"[]", "Not a JSON object."),
        (b'{"a": 1, "a": 1}', "A name comes twice."),
        (b'{"a": 12345678901234567890}', "A number of more than 19 digits."),
        (b'{"a": 1e100}', "A number out of range."),
        (b'{"a": 1e-100}', "A number out of range."),
        (b'{"a": 0.%s}' % (b"1" * 63), "A number out of range."),
        (b'{"a": 1e99999999999999999999}', "A number out of range."),
        (b'{"a": NaN}', "NaN is not JSON."),
        (b'{"a": "\\u0000"}', "A NUL character."),
        (b'{"a": ["\\ud800"]}', "Half a surrogate pair."),
        (b'{"\\udc00": 1}', "Half a surrogate pair."),
    ],
)
def test_what_is_said_of_a_body_that_is_no_json_object(body: bytes, sentence: str) -> None:
    assert faults("carrierx", body) == {"body": (sentence,)}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"1234567890123456789", 1234567890123456789),
        (b"-1234567890123456789", -1234567890123456789),
        (b"1e99", Decimal("1e99")),
        (b"1e-99", Decimal("1e-99")),
        (b"0." + b"1" * 62, Decimal("0." + "1" * 62)),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[" * 31 + b"]" * 31, None),
        (b"[" * 31 + b"]" * 31 + b', "others": [[], {}, "' + b"[" * 40 + b'"]', None),
    ],
)
def test_what_is_just_within_the_limits(value: bytes, kept: object) -> None:
    body = acme.text()[:-1] + b', "more": ' + value + b"}"
    message = read("carrierx", body)
    assert kept is None or message.extra["more"] == kept


def test_data_of_the_sender_that_is_no_text_is_kept_as_json() -> None:
    body = acme.text(user_data={"name": "José", "amount": 1})
    assert read("carrierx", body).user_data == '{"name": "José", "amount": 1}'
    assert read("carrierx", body.replace(b'"amount": 1', b'"amount": 0.10')).user_data == (
        '{"name": "José", "amount": "0.10"}'
    )


@pytest.mark.parametrize(
    ("name", "body", "content_type", "said"),
    [
        ("legacy-callback", b"&".join([b"a=b"] * 1001), FORM, {"body": ("More than 1000 form pairs.",)}),
        ("legacy-callback", b"--b", "multipart/form-data; boundary=b", {"body": ("Broken multipart/form-data.",)}),
        ("legacy-callback", b"x", "multipart/form-data", {"body": ("Broken multipart/form-data.",)}),
        (
            "legacy-callback",
            b"message=JOIN",
            FORM,
            {
                "phone": ("Missing data for required field.",),
                "shortcode": ("Missing data: shortcode or code is required.",),
            },
        ),
        (
            "legacy-status",
            b"status=+&code=1",
            FORM,
            {
                "sendTo": ("Missing data for required field.",),
                "status": ("Missing data for required field.",),
                "ticket": ("Missing data: ticket or custom_ticket is required.",),
            },
        ),
    ],
)
def test_what_is_said_of_a_form(name: str, body: bytes, content_type: str, said: Mapping[str, tuple[str, ...]]) -> None:
    assert faults(name, body, content_type) == said


def test_a_thousand_pairs_are_read() -> None:
    body = acme.keyword_callback() + b"&a=b" * 990
    message = read("legacy-callback", body, FORM)
    assert message.notes == ("The field 'a' came more than once: the first value counts.",)


@pytest.mark.parametrize(
    ("end", "title"), [(b"MAX", "MAX"), (b"x \t", "x \t"), (b"x\r\n\n", "x"), (b"%78%0D%0A", "x\r\n")]
)
def test_only_line_ends_are_no_part_of_a_form(end: bytes, title: str) -> None:
    """Some clients put one behind the last field."""
    assert read("legacy-callback", acme.keyword_callback() + b"&more=" + end, FORM).extra == {"more": title}


MULTIPART = "multipart/form-data; boundary=b"
PART = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'


@pytest.mark.parametrize("count", [1000, 1001])
def test_how_many_parts_are_read(count: int) -> None:
    body = PART.format("phone", "15162065515") + PART.format("code", "12345") + PART.format("a", "") * (count - 2)
    if count > 1000:
        assert faults("legacy-callback", body.encode() + b"--b--", MULTIPART) == {
            "body": ("Broken multipart/form-data.",)
        }
    else:
        assert read("legacy-callback", body.encode() + b"--b--", MULTIPART).to == "12345"


@pytest.mark.parametrize("boundary", ["", "None", "XXXX"])
def test_without_a_boundary_there_are_no_parts(boundary: str) -> None:
    assert wire.boundary_of("multipart/form-data") == ""
    body = PART.format("phone", "15162065515").replace("--b", f"--{boundary}") + f"--{boundary}--"
    assert faults("legacy-callback", body.encode(), "multipart/form-data") == {"body": ("Broken multipart/form-data.",)}


def test_a_form_is_utf_8_unless_another_charset_is_named() -> None:
    assert wire.write_form([("é", "é ~"), ("b", "")]) == (b"%C3%A9=%C3%A9+%7E&b=", ())


def test_a_long_name_is_noted_by_its_beginning() -> None:
    message = read("legacy-callback", acme.keyword_callback() + b"&" + b"a" * 41 + b"=1&" + b"a" * 41 + b"=2", FORM)
    assert message.notes == (f"The field '{'a' * 40}' came more than once: the first value counts.",)


def test_the_date_of_a_text_is_when_it_came_in() -> None:
    text = read("carrierx", acme.text(date_status_changed="2026-11-20T09:31:00.000Z"))
    update = read("carrierx", acme.update(date_status_changed="2026-11-20T09:31:00.000Z"))
    for message, name, date in (
        (text, "legacy-callback", "2026-11-20T09:29:59.517Z"),
        (update, "legacy-status", "2026-11-20T09:31:00.000Z"),
    ):
        assert dict(FORMATS[name].dump(message, FormatOptions()).headers)["X-Message-Date"] == date


@pytest.mark.parametrize(
    ("charset", "text", "read_as", "notes"),
    [
        ("utf-8", "é".encode(), "é", ()),
        ("latin-1", b"\xe9", "é", ()),
        ("WINDOWS_1252", b"\x80\x81\x00", "€\x81", ()),
        ("klingon", "é".encode(), "é", ("The declared charset is not known.",)),
        ("us-ascii", "é".encode(), "é", ("The bytes are not us-ascii, which was declared.",)),
        (
            "utf-8",
            b"\xe9",
            "é",
            (
                "The bytes are not utf-8, which was declared.",
                "The bytes are no UTF-8: read as windows-1252.",
            ),
        ),
        ("", b"\xe9", "é", ("The bytes are no UTF-8: read as windows-1252.",)),
        # The first half of a letter, which takes no second half from the next field.
        (
            "shift_jis",
            b"\x81",
            "\x81",
            (
                "The bytes are not shift_jis, which was declared.",
                "The bytes are no UTF-8: read as windows-1252.",
            ),
        ),
    ],
)
def test_the_charset_of_a_form(charset: str, text: bytes, read_as: str, notes: tuple[str, ...]) -> None:
    declared = f"{FORM}; charset={charset}" if charset else FORM
    message = read("legacy-callback", b"shortcode=12345&phone=15162065515&message=" + text + b"&title=x", declared)
    assert (message.message, message.notes) == (read_as, notes)


@pytest.mark.parametrize("quotes", ['"{}"', "'{}'", "{}", " {} "])
def test_a_charset_in_quotes_or_none(quotes: str) -> None:
    body = b"shortcode=12345&phone=15162065515&message=\xe9"
    message = read("legacy-callback", body, f"{FORM} ; Charset = {quotes.format('ISO-8859-1')}; x=y")
    assert (message.message, message.notes) == ("é", ())


def test_what_a_format_cannot_say() -> None:
    options = FormatOptions()
    with pytest.raises(CannotSay, match=r"^A status update cannot be written as a keyword callback\.$"):
        FORMATS["legacy-callback"].dump(read("carrierx", acme.update()), options)
    with pytest.raises(CannotSay, match=r"^An inbound text cannot be written as a status post\.$"):
        FORMATS["legacy-status"].dump(read("carrierx", acme.text()), options)


def test_our_number_is_the_one_of_the_configuration() -> None:
    """CarrierX's own spelling of it may be another one."""
    context = NumberContext(number="15162065919", code="12345")
    came, went = read("carrierx", acme.text(to_did="5162065919")), read("carrierx", acme.update(**{"from": "x1"}))
    assert enrich(came, context).to == "15162065919" and enrich(went, context).from_ == "15162065919"
    assert enrich(came, NumberContext()).to == "5162065919" and enrich(came, NumberContext()).code == "5162065919"


@pytest.mark.parametrize(
    ("text", "written", "exact"),
    [
        ("ő “x” €", b"o+%22x%22+EUR", False),
        ("naïve", b"na%EFve", True),
        ("ő", b"o", False),
        ("“Ł…”", b"%22L...%22", False),
        ("e\u0301", b"%E9", False),
        ("a\u200db", b"ab", False),
        ("5 €", b"5+EUR", False),
        ("日", b"%3F", False),
        ("\u2028", b"%0A", False),
        ("1\u20dd", b"1", False),
    ],
)
def test_a_text_in_a_charset_that_lacks_its_letters(text: str, written: bytes, exact: bool) -> None:
    options = FormatOptions(charset="iso-8859-1")
    body = FORMATS["legacy-callback"].dump(read("carrierx", acme.text(message=text)), options)
    assert b"&message=" + written + b"&" in body.data
    lacking = "The field 'message' has characters that iso-8859-1 lacks: written in their nearest plain form."
    assert body.notes == (() if exact else (lacking,))


def test_json_goes_out_as_it_is_read() -> None:
    written = FORMATS["carrierx"].dump(read("carrierx", acme.text(price=0, message='é " \\ \n')), FormatOptions())
    said: dict[str, Any] = json.loads(written.data)
    assert said["message"] == 'é " \\ \n' and said["price"] == 0 and said["mcc"] == 310
    assert written.data.startswith(b'{"date_created": "2026-11-20T09:29:59.517Z", ')
