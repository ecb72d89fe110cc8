"""The example project: its stories, its pages and its commands."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from pages import Page
from shop import factories
from shop.hints import command
from shop.management.commands.prepare import PASSWORD
from shop.models import Article, Book, Line, Order
from shop.race import race, run_round
from shop.stories import STORIES, wallet
from shop.story import Result

EXAMPLE = Path(__file__).parents[2] / "example_project"
WORKERS = 6
WAYS = [
    pytest.param(story, way, id=f"{story.slug}-{way.slug}")
    for story in STORIES
    for way in story.ways
]
WRONG = [case for case in WAYS if not case.values[1].right]
RIGHT = [case for case in WAYS if case.values[1].right]


@pytest.fixture
def committed(django_db_setup, django_db_blocker):
    """Real commits, without the flush of all tables that would follow each test."""
    with django_db_blocker.unblock():
        yield
        for model in apps.get_app_config("shop").get_models():
            model.objects.all().delete()


@pytest.fixture
def run(committed):
    def run(story, way, rounds=2):
        result = Result(story, way)
        for _ in range(rounds):
            run_round(result, WORKERS)
        return result

    return run


@pytest.mark.parametrize(("story", "way"), WRONG)
def test_a_wrong_way_goes_wrong_each_time(story, way, run):
    for _ in range(2):
        result = run(story, way, rounds=1)
        assert result.confirmed >= result.possible
        assert result.lost != 0


@pytest.mark.parametrize(("story", "way"), RIGHT)
def test_a_right_way_loses_nothing(story, way, run):
    result = run(story, way)
    assert 0 < result.confirmed == result.stored <= result.possible


@pytest.mark.parametrize(
    ("story", "way"),
    [case for case in RIGHT if case.id.endswith("lock_with_retry")],
)
def test_a_retried_way_leaves_nothing_unsold(story, way, run):
    result = run(story, way, rounds=1)
    assert result.confirmed == result.possible


@pytest.mark.parametrize("way", [way for way in wallet.STORY.ways if way.right])
def test_transfers_in_opposite_directions_keep_the_sum(way, committed):
    one, other = factories.WalletFactory.create_batch(2, balance=100)
    there, back = (one.pk, other.pk, 10), (other.pk, one.pk, 30)
    answers, _ = race(way.function, [there, back])
    one.refresh_from_db()
    other.refresh_from_db()
    assert answers == [1, 1]
    assert (one.balance, other.balance) == (120, 80)


def test_twenty_reports_of_one_payment_count_once(committed):
    from shop.stories.votes import lock_with_retry

    payment = factories.PaymentFactory()
    answers, _ = race(lock_with_retry, [(payment.reference,)] * 20)
    payment.contestant.refresh_from_db()
    assert sum(answers) == payment.contestant.votes == 1


# The pages


@pytest.fixture
def shop(client, db, settings):
    settings.ROOT_URLCONF = "config.urls"
    return client


@pytest.fixture
def book():
    return factories.BookFactory(title="Dune", stock=2)


def page(slug):
    """Return where a story's page is."""
    return reverse("story", args=[slug])


def shown(**rows):
    """Return what a button sends on a story's page that has shown these rows."""
    sent = {name: f"{row.pk}@{row.version}" for name, row in rows.items()}
    return {"button": "Do it", "seen": "as it was", **sent}


def press(client, slug, form, **extra):
    return client.post(page(slug), {**form, **extra})


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.slug)
def test_an_empty_page_says_how_to_fill_it(story, shop):
    assert "manage.py prepare" in shop.get(page(story.slug)).text


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.slug)
def test_a_storys_page_shows_its_rows_and_the_source_of_its_ways(story, shop):
    factories.BookFactory(title="Dune")
    factories.WalletFactory.create_batch(2, owner="Dune")
    factories.PaymentFactory(contestant__name="Dune")
    factories.PlayerFactory(name="Dune")
    text = shop.get(page(story.slug)).text
    assert "Dune" in text
    for way in story.ways:
        assert f"def {way.slug}(" in text


def test_the_front_page_links_the_stories(shop):
    text = shop.get(reverse("index")).text
    for story in STORIES:
        assert f'href="/{story.slug}/"' in text


def test_buying_takes_a_copy(shop, book):
    response = press(shop, "stock", shown(book=book))
    assert response.status_code == 302
    book.refresh_from_db()
    assert book.stock == 1


def test_buying_from_an_old_page_is_a_conflict(shop, book):
    old_page = shown(book=book)
    press(shop, "stock", old_page)
    response = press(shop, "stock", old_page)
    assert response.status_code == 409
    assert "somebody has changed Dune" in response.text
    assert "You saw “as it was”" in response.text
    assert "1 in stock" in response.text
    book.refresh_from_db()
    assert book.stock == 1


def test_the_button_of_the_conflict_page_buys(shop, book):
    old_page = shown(book=book)
    press(shop, "stock", old_page)
    conflict = press(shop, "stock", old_page).text
    [now] = re.findall(r'name="book" value="(.+?)"', conflict)
    response = press(shop, "stock", {"book": now})
    assert response.status_code == 302
    book.refresh_from_db()
    assert book.stock == 0


def test_buying_with_retry_from_an_old_page_buys(shop, book):
    old_page = shown(book=book)
    press(shop, "stock", old_page)
    response = press(shop, "stock", old_page, retry="")
    assert response.status_code == 302
    book.refresh_from_db()
    assert book.stock == 0


@pytest.mark.parametrize("extra", [{}, {"retry": ""}])
def test_nobody_buys_what_is_sold_out(extra, shop, book):
    book.stock = 0
    book.save()
    response = press(shop, "stock", shown(book=book), **extra)
    assert "can&#x27;t be done" in shop.get(response.url).text
    book.refresh_from_db()
    assert book.stock == 0


@pytest.mark.parametrize("form", [{}, {"book": "1"}, {"book": "1@"}, {"book": "1@x"}])
@pytest.mark.parametrize("extra", [{}, {"retry": ""}])
def test_a_form_that_does_not_say_what_was_shown_is_refused(form, extra, shop, book):
    response = press(shop, "stock", form, **extra)
    assert response.status_code == 400
    book.refresh_from_db()
    assert book.stock == 2


@pytest.fixture
def wallets():
    return factories.WalletFactory.create_batch(2, balance=100)


def balances(wallets):
    for each in wallets:
        each.refresh_from_db()
    return [each.balance for each in wallets]


def test_a_transfer_from_an_old_page_moves_no_money(shop, wallets):
    one, other = wallets
    there = shown(source=one, target=other)
    back = shown(source=other, target=one)
    assert press(shop, "wallet", there).status_code == 302
    assert press(shop, "wallet", back).status_code == 409
    assert balances(wallets) == [70, 130]
    assert press(shop, "wallet", back, retry="").status_code == 302
    assert balances(wallets) == [100, 100]


def test_a_wallet_without_enough_sends_nothing(shop, wallets):
    wallets[0].balance = 29
    wallets[0].save()
    response = press(shop, "wallet", shown(source=wallets[0], target=wallets[1]))
    assert "can&#x27;t be done" in shop.get(response.url).text
    assert balances(wallets) == [29, 100]


def test_a_vote_from_an_old_page_leaves_its_payment_unmarked(shop):
    first, second = factories.PaymentFactory.create_batch(
        2, contestant=factories.ContestantFactory()
    )
    assert (
        press(
            shop, "votes", shown(payment=first, contestant=first.contestant)
        ).status_code
        == 302
    )
    old_page = shown(payment=second, contestant=second.contestant)
    assert press(shop, "votes", old_page).status_code == 409
    second.refresh_from_db()
    assert not second.verified
    assert second.contestant.votes == 1
    assert press(shop, "votes", old_page, retry="").status_code == 302
    second.refresh_from_db()
    assert second.verified
    assert second.contestant.votes == 2


@pytest.mark.parametrize("extra", [{}, {"retry": ""}])
def test_a_payment_reported_twice_counts_once(extra, shop):
    payment = factories.PaymentFactory()
    page = shown(payment=payment, contestant=payment.contestant)
    press(shop, "votes", page)
    response = press(shop, "votes", page, **extra)
    assert "done already" in shop.get(response.url).text
    payment.contestant.refresh_from_db()
    assert payment.contestant.votes == 1


def test_a_press_from_an_old_page_adds_no_coin(shop):
    player = factories.PlayerFactory()
    old_page = shown(player=player)
    assert press(shop, "bot", old_page).status_code == 302
    assert press(shop, "bot", old_page).status_code == 409
    assert press(shop, "bot", old_page, retry="").status_code == 302
    player.refresh_from_db()
    assert player.coins == 2


# The admin


def prepare():
    out = io.StringIO()
    call_command("prepare", stdout=out)
    return out.getvalue()


@pytest.fixture
def alice(shop, settings):
    settings.DEBUG = True  # without it, there are no users whose password is known
    prepare()
    assert shop.login(username="alice", password=PASSWORD)
    return shop


def test_every_model_can_be_listed_changed_and_added(alice):
    for model in apps.get_app_config("shop").get_models():
        if model is Line:  # is edited with its order
            continue
        name, pk = f"admin:shop_{model._meta.model_name}", model.objects.first().pk
        for url in (
            reverse(f"{name}_changelist"),
            reverse(f"{name}_add"),
            reverse(f"{name}_change", args=[pk]),
        ):
            assert alice.get(url).status_code == 200, url
        assert "optilock_token" in alice.get(url).text


def test_alice_may_edit_the_shop_and_nothing_else(alice):
    assert alice.get(reverse("admin:auth_user_changelist")).status_code == 403


@pytest.mark.parametrize(
    ("language", "direction"), [("zh-hans", "ltr"), ("ru", "ltr"), ("ar", "rtl")]
)
def test_the_admin_speaks_the_browsers_language(language, direction, shop):
    login = shop.get(reverse("admin:login"), headers={"accept-language": language})
    assert f'<html lang="{language}" dir="{direction}"' in login.text


def test_orders_that_nobody_changed_are_marked_as_shipped(alice):
    one, other = Order.objects.filter(status="new")[:2]
    orders = Page.list(User.objects.get(username="alice"), Order)
    other.touch()
    selected = [one.pk, other.pk]
    asked = orders.post(action="mark_as_shipped", _selected_action=selected)
    assert f"“{other}” was changed" in asked.text
    done = asked.post(_selected_action=selected, optilock_run="unchanged")
    assert done.redirects
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.status, other.status) == ("shipped", "new")
    assert LogEntry.objects.get().get_change_message() == "Changed Status."


# The API


def test_the_api_wants_the_version_and_gives_it(alice):
    url = reverse("order-detail", args=["1012"])
    answer = alice.get(url)
    assert answer["ETag"].startswith('"2.')
    assert answer.json()["etag"] == '"2"'

    def patch(**headers):
        change = {"customer": "Vera"}
        return alice.patch(url, change, "application/json", headers=headers)

    assert patch().json() == {"version": ["This field is required."]}
    assert alice.delete(url).status_code == 428
    assert patch(if_match=answer["ETag"])["ETag"].startswith('"3.')
    stale = patch(if_match=answer["ETag"])
    assert stale.status_code == 412
    assert stale.json()["current"]["customer"] == "Vera"


@pytest.mark.parametrize("name", ["order-list", "order-detail", "order"])
def test_the_api_and_its_page_are_for_those_who_may(name, shop):
    url = reverse(name, args=[] if name == "order-list" else ["1012"])
    assert shop.get(url).status_code in (302, 403)


def test_the_api_answers_curl_as_it_is_documented(alice):
    page = (EXAMPLE.parent / "docs" / "example.md").read_text()
    user, path = re.search(r"^curl -i -u (\S+) http://[^/]+(\S+)$", page, re.M).groups()
    basic = base64.b64encode(user.encode()).decode()
    alice.logout()
    answer = alice.get(path, headers={"authorization": f"Basic {basic}"})
    assert answer.json()["number"] == "1012"


# The commands

on_sqlite = pytest.mark.skipif(
    connection.vendor != "sqlite",
    reason="It chooses its database itself; run once, with the suite on SQLite.",
)


def manage(*arguments, first_on_path="", **environment):
    return python(
        EXAMPLE / "manage.py", *arguments, first_on_path=first_on_path, **environment
    )


def python(*arguments, first_on_path="", stdout=subprocess.PIPE, **environment):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": f"{first_on_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "COLUMNS": "80",
        **environment,
    }
    return subprocess.Popen(  # noqa: S603 -- our own command line
        [sys.executable, "-W", "error", *arguments],
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell is deaf to Ctrl-C, and so are its own.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def finished(process):
    with process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, err


@pytest.fixture
def ready(tmp_path):
    """Where the prepared database goes, in place of the checkout."""
    return f"sqlite:///{tmp_path / 'ready.sqlite3'}"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where the demo makes its folders; other suites may run one just now, too."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@on_sqlite
def test_check_has_nothing_to_say(ready):
    code, out, err = finished(manage("check", DATABASE_URL=ready))
    assert (code, err) == (0, "")
    assert "no issues" in out


def test_the_migrations_are_complete(db):
    call_command("makemigrations", "shop", check=True, dry_run=True)


@on_sqlite
def test_the_demo_from_end_to_end(ready, tmp_path, scratch):
    code, out, err = finished(
        manage("demo", "--workers=4", "--rounds=1", DATABASE_URL=ready)
    )
    assert (code, err) == (0, "")
    assert "RecordModifiedError" in out
    for story in STORIES:
        for way in story.ways:
            row = re.search(rf"^([✓✗]) {re.escape(way.title)} +(\d.*)$", out, re.M)
            assert row, way.title
            lost = row[2].split(maxsplit=3)[3].strip()
            assert lost.startswith("0 ") is way.right
    assert "runserver" in out
    assert not list(scratch.glob("optilock-demo-*"))
    assert (tmp_path / "ready.sqlite3").exists()


@pytest.mark.parametrize("folder", [EXAMPLE, EXAMPLE.parent, EXAMPLE / "shop"])
def test_a_command_that_is_printed_works_where_it_is_printed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    interpreter, manage, name = shlex.split(command("runserver"))
    assert Path(interpreter).absolute() == Path(sys.executable)
    assert Path(manage).samefile(EXAMPLE / "manage.py")
    assert name == "runserver"


def test_what_can_be_done_next_is_printed(db):
    assert f"  {command('runserver')}\n" in prepare()


FORGETFUL = """
import django
django.setup()
from django.core.management import execute_from_command_line
from shop.stories import STORIES, stock
from shop.story import Story, Way

def say_yes(book_id):
    return True

STORIES[:] = [Story("Forgetful", [Way("write nothing", say_yes)], stock.new_round)]
execute_from_command_line(["manage.py", "demo", "--rounds=1"])
"""


@on_sqlite
def test_the_demo_fails_if_a_right_way_loses_something(ready):
    code, out, err = finished(
        python("-c", FORGETFUL, first_on_path=EXAMPLE, DATABASE_URL=ready)
    )
    assert code == 1
    assert "A right way has lost something: stock/write nothing." in err
    assert re.search(r"✓ write nothing +8 +8 +0 +8 ", out)


@on_sqlite
def test_the_progress_bar_stays_on_its_line_in_a_terminal(ready, scratch):
    pty = pytest.importorskip("pty")
    terminal, program = pty.openpty()
    demo = python(
        "-c",
        FORGETFUL,
        first_on_path=EXAMPLE,
        stdout=program,
        TERM="xterm-256color",
        DATABASE_URL=ready,
    )
    os.close(program)
    shown = b""
    with suppress(OSError):  # Linux's way to say that nobody writes any more
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert finished(demo)[0] == 1
    # While the bar is drawn, the cursor is hidden.
    [bar] = re.findall(rb"\x1b\[\?25l(.*)\x1b\[\?25h", shown, re.S)
    assert bar.count(b"\r\x1b[2K") > 1
    assert bar.count(b"\n") <= 1  # once it is done


@on_sqlite
def test_an_interrupted_demo_leaves_nothing_behind(ready, tmp_path, scratch):
    demo = manage("demo", "--rounds=1000", DATABASE_URL=ready)
    for line in demo.stdout:
        if "Four races" in line:
            break
    time.sleep(0.5)
    demo.send_signal(signal.SIGINT)
    code, out, err = finished(demo)
    assert (code, err) == (130, "")
    assert "Interrupted" in out
    assert not list(scratch.glob("optilock-demo-*"))
    # Django 6.1's checks connect to the usual database, and so make its file.
    left = {path.name for path in tmp_path.iterdir()} - {"ready.sqlite3"}
    assert left == {"scratch"}
    with closing(sqlite3.connect(tmp_path / "ready.sqlite3")) as usual:
        assert not usual.execute("SELECT name FROM sqlite_master").fetchall()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--database=oracle", "is no database known here"),
        ("--workers=1", "at least 2"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(argument, message):
    with pytest.raises(CommandError, match=message):
        call_command("demo", argument)


@on_sqlite
@pytest.mark.parametrize(
    ("kind", "driver"), [("postgresql", "psycopg"), ("mariadb", "MySQLdb")]
)
def test_a_server_that_does_not_answer_is_to_be_started(kind, driver, ready):
    pytest.importorskip(driver)  # its absence is the next test
    code, _, err = finished(
        manage("demo", f"--database={kind}://127.0.0.1:1/", DATABASE_URL=ready)
    )
    assert code == 1
    assert "Start a server" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("hidden", "kind"), [("psycopg psycopg2", "postgresql"), ("MySQLdb", "mariadb")]
)
def test_a_missing_driver_is_named(hidden, kind, monkeypatch):
    for name in hidden.split():
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CommandError, match=re.escape(f".[example,{kind}]")):
        call_command("demo", f"--database={kind}")


@on_sqlite
def test_a_missing_package_is_named(ready, tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('no such package')")
    code, _, err = finished(manage("demo", first_on_path=tmp_path, DATABASE_URL=ready))
    assert code == 1
    assert 'pip install ".[example]"' in err
    assert "Traceback" not in err


def test_the_shop_can_be_prepared_twice(alice):
    Book.objects.filter(title="Middlemarch").update(stock=7)
    assert "alice and bob" in prepare()
    assert Book.objects.get(title="Middlemarch").stock == 7
    assert alice.get(page("stock")).text.count('class="card"') == 4
    assert (Order.objects.count(), Article.objects.count()) == (12, 2)
    assert 24 <= Line.objects.count() <= 48
    assert User.objects.filter(is_staff=True).count() == 2


def test_nobody_with_a_known_password_is_made_without_debug(db):
    assert PASSWORD not in prepare()
    assert not User.objects.exists()
