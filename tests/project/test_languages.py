"""Every text a person sees, in every language there is a catalogue for."""

from __future__ import annotations

import datetime
import re
import shutil
from html import unescape
from importlib.resources import files
from pathlib import Path

import django
import polib
import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone, translation
from factories import LineFactory, MemoFactory, OrderFactory, UserFactory
from pages import Page, Script

from optilock.panel import Author, tell_who
from optilock.panel.questions import Question, tell_need

LOCALE = Path(str(files("optilock"))) / "locale"
#: Names of directories, as Django calls them.
TRANSLATED = [
    *("ar", "de", "es", "fa", "fr", "he", "it", "ja", "ko", "nl", "pl", "pt_BR", "ru"),
    *("tr", "uk", "zh_Hans", "zh_Hant"),
]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")

pytestmark = pytest.mark.usefixtures("english")


def catalogue(name, root=LOCALE, read=polib.pofile, suffix="po"):
    return read(str(root / name / "LC_MESSAGES" / f"django.{suffix}"))


def texts(entries):
    """Return what entries say, by what identifies them."""
    return {
        (e.msgctxt, e.msgid, e.msgid_plural or ""): e.msgstr_plural or e.msgstr
        for e in entries
    }


# --- catalogues ----------------------------------------------------------


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_text_is_translated(name):
    po = catalogue(name)
    assert not po.untranslated_entries()
    assert not po.fuzzy_entries()
    assert not po.obsolete_entries()
    forms = int(re.match(r"nplurals=(\d)", po.metadata["Plural-Forms"])[1])
    for entry in po:
        if entry.msgid_plural:
            assert sorted(entry.msgstr_plural) == list(range(forms))
            assert all(entry.msgstr_plural.values())


def test_english_is_what_the_source_says():
    assert not catalogue("en").translated_entries()


@pytest.mark.parametrize("name", TRANSLATED)
def test_translations_have_the_placeholders_of_the_original(name):
    for entry in catalogue(name):
        wanted = set(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
        forms = list(entry.msgstr_plural.values()) or [entry.msgstr]
        assert set(PLACEHOLDER.findall(forms[-1])) == wanted
        for form in forms[:-1]:  # "one" and "two" may be words
            left_out = wanted - set(PLACEHOLDER.findall(form))
            assert left_out <= {"%(n)s", "%(num)d"}
            assert set(PLACEHOLDER.findall(form)) <= wanted
        assert all("%" not in PLACEHOLDER.sub("", form) for form in forms)


@pytest.mark.parametrize("name", ["en", *TRANSLATED])
def test_compiled_catalogues_are_up_to_date(name):
    compiled = catalogue(name, read=polib.mofile, suffix="mo")
    assert texts(compiled) == texts(catalogue(name).translated_entries())


as_in_newest = pytest.mark.skipif(
    django.VERSION < (6, 1), reason="Django 6.1 counts and says some things otherwise"
)


@as_in_newest
@pytest.mark.parametrize("name", ["en", *TRANSLATED])
def test_plurals_are_formed_as_in_django(name):
    # Otherwise Django keeps two catalogues, and asks both for each text.
    django_root = Path(django.__file__).parent / "conf" / "locale"
    ours, theirs = (
        "".join(catalogue(name, root).metadata["Plural-Forms"].split())
        for root in (LOCALE, django_root)
    )
    assert ours == theirs


@as_in_newest
@pytest.mark.parametrize("name", TRANSLATED)
def test_what_django_says_too_is_translated_as_it_does(name):
    # Texts of all apps are merged: ours would replace Django's, or be replaced.
    ours = texts(catalogue(name))
    root = Path(django.__file__).parent
    for path in [root / "conf" / "locale", *root.glob("contrib/*/locale")]:
        if (path / name).is_dir():
            theirs = texts(catalogue(name, path, polib.mofile, "mo"))
            for text in ours.keys() & theirs.keys():
                assert ours[text] == theirs[text], path


@pytest.mark.skipif(
    not shutil.which("xgettext"), reason="needs xgettext, which is part of gettext"
)
def test_catalogues_have_the_texts_of_the_source(tmp_path, monkeypatch):
    source = tmp_path / "optilock"
    shutil.copytree(LOCALE.parent, source, ignore=shutil.ignore_patterns("locale"))
    (source / "locale").mkdir()
    monkeypatch.chdir(source)
    call_command("makemessages", locale=["en"], verbosity=0)
    found = texts(catalogue("en", source / "locale")).keys()
    for name in ["en", *TRANSLATED]:
        assert texts(catalogue(name)).keys() == found


# --- sentences -----------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "minutes", "sentence"),
    [
        ("ru", 1, "Пользователь bob изменил «it» 1 минуту назад,"),
        ("ru", 2, "Пользователь bob изменил «it» 2 минуты назад,"),
        ("ru", 5, "Пользователь bob изменил «it» 5 минут назад,"),
        ("ru", 21, "Пользователь bob изменил «it» 21 минуту назад,"),
        ("ru", 0, "Пользователь bob изменил «it» только что,"),
        ("zh-hans", 2, "在您打开此页面之后，bob 修改了“it”（2 分钟前）。"),
        ("ar", 2, "غيّر المستخدم bob «it» منذ دقيقتين، بعد أن"),
        ("ar", 5, "غيّر المستخدم bob «it» منذ 5 دقائق، بعد أن"),
        # There is no catalogue of ours; Django's words aren't mixed in.
        ("fi", 2, "bob changed “it” 2 minutes ago, after you"),
    ],
)
def test_a_time_has_the_form_its_sentence_needs(language, minutes, sentence):
    when = timezone.now() - datetime.timedelta(minutes=minutes, seconds=5)
    with translation.override(language):
        said = tell_who("it", Author("bob", when))
    assert re.sub("[\u2068\u2069]", "", said).replace("\xa0", " ").startswith(sentence)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "1 изменение требует вашего выбора."),
        (2, "2 изменения требуют вашего выбора."),
        (5, "5 изменений требуют вашего выбора."),
        (21, "21 изменение требует вашего выбора."),
    ],
)
def test_numbers_decline_the_noun_in_russian(count, sentence):
    with translation.override("ru"):
        assert tell_need([Question("", "", ())] * count) == sentence


@pytest.mark.parametrize("language", ["en", "en-gb"])
def test_english_stays_english_where_another_language_is_the_default(
    language, settings
):
    settings.LANGUAGE_CODE = "ru"
    with translation.override(language):
        assert tell_who("it", Author()).endswith("after you opened this page.")


# --- pages ---------------------------------------------------------------


def phrases():
    """Return the parts of our English texts that are more than a word."""
    found = set()
    for entry in catalogue("en"):
        for text in (entry.msgid, entry.msgid_plural):
            parts = (part.strip(" .,:“”") for part in PLACEHOLDER.split(text))
            found |= {part for part in parts if " " in part}
    return found


def visible(page):
    return unescape(re.sub("<[^>]+>", " ", page.text))


def opened(language, page):
    page.client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
    return page


def two(language, *args, how=Page.change):
    """Open a page twice: for the person who asks in the language, and for bob."""
    return (
        opened(language, how(UserFactory(username="ann"), *args)),
        how(UserFactory(username="bob"), *args),
    )


def conflict_page(language):
    order = OrderFactory(note="old")
    line = LineFactory(order=order)
    LineFactory(order=order)
    mine, theirs = two(language, order)
    theirs.save(
        note="x" * 1000,
        status="paid",
        currency="USD",
        **{"lines-0-DELETE": "on", "lines-1-quantity": "7"},
    )
    assert not type(line).objects.filter(pk=line.pk).exists()
    changes = {"lines-0-quantity": "5", "lines-1-DELETE": "on"}
    return mine.save(note="y" * 1000, status="shipped", **changes)


def too_old_page(language):
    mine, theirs = two(language, OrderFactory())
    theirs.save(status="paid")
    return mine.save(status="shipped", without=["optilock_token"])


def deleted_page(language):
    order = OrderFactory()
    mine, _ = two(language, order)
    order.delete()
    return mine.save(status="shipped")


def merged_message(language):
    mine, theirs = two(language, OrderFactory(note="old"))
    theirs.save(note="new", status="paid")
    saved = mine.save(number="other", _continue="1")
    return Page(mine.client, saved.url, mine.client.get(saved.response.url))


def overwritten_message(language):
    mine, theirs = two(language, OrderFactory(note="old"))
    theirs.save(note="theirs")
    asked = mine.save(note="mine")
    saved = asked.save(optilock_decision_note="mine")
    return Page(mine.client, saved.url, mine.client.get(saved.response.url))


def cells_of_a_list(language):
    order = OrderFactory()
    mine, theirs = two(language, type(order), how=Page.list)
    theirs.save(**{"form-0-status": "paid"})
    return mine.save(**{"form-0-status": "shipped"})


def action_page(language):
    orders = [OrderFactory() for _ in range(2)]
    mine, theirs = two(language, type(orders[0]), how=Page.list)
    theirs.save(**{"form-0-status": "paid"})
    selected = [order.pk for order in orders]
    return mine.post(action="mark_paid", _selected_action=selected, select_across="1")


def delete_page(language):
    order = OrderFactory()
    mine, _ = two(language, order, how=Page.delete)
    Page.change(UserFactory(username="eve"), order).save(status="paid")
    asked = mine.post(post="yes")
    return Page(mine.client, mine.url, mine.client.get(asked.response.url))


def page_of_a_view(language):
    url = reverse("memo", args=[MemoFactory(subject="old").pk])
    mine, theirs = two(language, url, how=Page.get)
    theirs.save(subject="theirs")
    return mine.save(subject="mine")


PAGES = {
    conflict_page: "Nothing of yours is lost.",
    too_old_page: "This page is too old or incomplete, and can’t be saved as it is",
    deleted_page: "“%(object)s” is not there any more, or not visible to you.",
    merged_message: "Merged: %(user)s had changed %(fields)s; that was kept.",
    overwritten_message: "You have overwritten what %(user)s had saved: %(fields)s.",
    cells_of_a_list: "%(user)s’s:",
    action_page: "%(action_label)s: all but the changed",
    delete_page: "Nothing was deleted. Look at it again.",
    page_of_a_view: "Nothing of yours is lost.",
}


@pytest.mark.django_db
@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["ar", "de", "ru", "zh_Hans"])
def test_a_page_is_all_in_its_language(name, make):
    page = make(translation.to_language(name))
    seen = visible(page)
    assert not [phrase for phrase in phrases() if phrase in seen]
    msgstr = catalogue(name).find(PAGES[make]).msgstr
    parts = [part.strip(" .。:：") for part in PLACEHOLDER.split(msgstr)]
    assert all(part in seen for part in parts)
    direction = "rtl" if name == "ar" else "ltr"
    assert re.search(f'<html[^>]* dir="{direction}"', page.text)


@pytest.mark.django_db
def test_a_form_that_is_open_is_told_in_its_language():
    mine, theirs = two("ru", MemoFactory())
    theirs.save(subject="Hi")
    answer = Script(mine).look()
    assert answer["text"].startswith("Пользователь bob изменил «Hi» только что")
    assert answer["advice"] == "Можно продолжить и принять решение при сохранении."
    page = Page(mine.client, mine.url, mine.client.get(mine.url))
    assert "Обновить страницу" in page.attributes["data-optilock-texts"]
