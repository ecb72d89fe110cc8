"""Entity tags: what is written, what is read, what is refused."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from testapp.models import Account, Bistro, ConcurrentModel, Renamed, Unlocked

from optilock.http import (
    ETag,
    MalformedPrecondition,
    PreconditionFailed,
    Preconditions,
    etag_of,
    not_modified,
)
from optilock.http.tags import parse_tags


def if_match(value, method="PATCH"):
    return Preconditions.of(
        RequestFactory().generic(method, "/", headers={"If-Match": value})
    )


@pytest.mark.parametrize(
    "value",
    [
        "7",
        "'7'",
        "",
        " ",
        ",",
        ", ,",
        'w/"7"',
        'W/ "7"',
        "W/7",
        '"7" x',
        '"7" "8"',
        '7"',
        '"7',
        '*, "7"',
        '"7", *',
        "*, *",
        "**",
        '"a b"',
        '"a\x7fb"',
        '"\u20ac"',
        '"7"\n',
    ],
)
def test_what_is_not_a_tag_is_refused_and_never_taken_as_left_out(value):
    with pytest.raises(MalformedPrecondition):
        parse_tags("If-Match", value)


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_malformed_header_is_refused_for_every_method(name, method):
    request = RequestFactory().generic(method, "/", headers={name: "7"})
    with pytest.raises(MalformedPrecondition, match=name):
        Preconditions.of(request)


def test_options_has_no_preconditions():
    assert if_match("7", "OPTIONS").if_match is None


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('"7"', ["7"]),
        (' "7" ', ["7"]),
        ('"6","7"', ["6", "7"]),
        ('"6" ,\t"7"', ["6", "7"]),
        (',"6",,"7",', ["6", "7"]),
        ('"a,b"', ["a,b"]),
        ('""', [""]),
        ('"caf\xe9"', ["caf\xe9"]),
    ],
)
def test_a_list_of_tags_is_read(value, tags):
    assert [tag.opaque for tag in parse_tags("If-Match", value)] == tags


def test_a_header_sent_twice_is_one_list():
    assert if_match('"6","7"').versions == {6, 7}


def test_a_hundred_tags_are_read_and_not_one_more():
    assert len(parse_tags("If-Match", ",".join(['"7"'] * 100))) == 100
    with pytest.raises(MalformedPrecondition, match="more than 100"):
        parse_tags("If-Match", ",".join(['"7"'] * 101))


@pytest.mark.parametrize(
    ("opaque", "version"),
    [
        ("7", 7),
        ("0", 0),
        ("-3", -3),
        (str(2**63 - 1), 2**63 - 1),
        ("7.de", 7),
        ("7.0f3a", 7),
        ("7-gzip", 7),
        ("7--gzip", 7),
        ("7;br", 7),
        ("7.de-br", 7),
        (str(2**63), None),
        ("9" * 20, None),
        ("", None),
        ("07", None),
        ("-0", None),
        ("+7", None),
        ("7e3", None),
        ("7-x", None),
        ("7 ", None),
        ("\u0667", None),
        ("a1b2", None),
        ("5d41402abc4b2a76b9719d911017c592", None),
        ("12345678901234567890123456789012", None),
        ("12345678-1234-1234-1234-123456789012", None),
    ],
)
def test_the_version_is_a_part_of_its_own(opaque, version):
    assert ETag(opaque).version == version


@given(st.integers(-(2**63), 2**63 - 1), st.text(min_size=1), st.booleans())
def test_what_is_written_is_read_again(version, variant, weak):
    account = Account(version=version)
    tag = ETag(etag_of(account, variant).opaque, weak)
    assert parse_tags("If-Match", str(tag)) == [tag]
    assert tag.version == version


@given(st.text())
def test_any_header_is_read_or_refused(value):
    try:
        tags = parse_tags("If-Match", value)
    except MalformedPrecondition:
        return
    assert tags
    if tags != "*":
        again = ",".join(map(str, tags))
        assert parse_tags("If-Match", again) == tags


def test_the_tag_is_the_version():
    assert str(etag_of(Account(version=7))) == '"7"'
    assert str(etag_of(Renamed(lock=8))) == '"8"'
    assert str(etag_of(Bistro(version=9))) == '"9"'


def test_a_variant_is_another_tag_of_the_same_version():
    account = Account(version=7)
    german, english = etag_of(account, "de"), etag_of(account, "en")
    assert german != english
    assert german.version == english.version == 7


@pytest.mark.parametrize(("sent", "status"), [("v1", 304), ("v2", 412)])
def test_a_read_of_a_tag_that_is_no_version_is_compared_as_a_whole(sent, status):
    request = RequestFactory().get(
        "/", headers={"If-Match": f'"{sent}"', "If-None-Match": '"v1"'}
    )
    tag = ETag("v1")
    if status == 412:
        with pytest.raises(PreconditionFailed):
            not_modified(request, tag)
    else:
        assert not_modified(request, tag).status_code == status


def test_a_row_without_a_version_has_no_tag():
    with pytest.raises(TypeError, match="no version field"):
        etag_of(Unlocked())


@pytest.mark.django_db
def test_a_version_that_was_not_loaded_has_no_tag():
    ConcurrentModel.objects.create(name="one")
    with pytest.raises(ValueError, match="was not loaded"):
        etag_of(ConcurrentModel.objects.only("name").get())
