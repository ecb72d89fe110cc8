"""The template tag, on pages of function views as people see and send them."""

from __future__ import annotations

import re

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.forms import inlineformset_factory, modelformset_factory
from django.http import Http404, HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from factories import LineFactory, OrderFactory
from pages import Inputs, values
from testapp.models import Line, Order

from optilock import panel
from optilock.forms import (
    VersionedInlineFormSet,
    VersionedModelForm,
    VersionedModelFormSet,
    get_opened_or_404,
)

PAGE = Template(
    "{% load optilock %}<form method=post>{% conflict form %}{{ form }}</form>"
)
ROWS = Template(
    "{% load optilock %}<form method=post>{% conflict rows %}{{ rows }}</form>"
)
Lines = inlineformset_factory(
    Order, Line, fields=["product", "quantity"], formset=VersionedInlineFormSet, extra=0
)
Orders = modelformset_factory(
    Order, fields=["note"], formset=VersionedModelFormSet, extra=0
)


class OrderForm(VersionedModelForm):
    can_recreate = True

    class Meta:
        model = Order
        fields = ["number", "status", "amount", "currency", "note"]


def edit(request, order, rows=None):
    """The view of the documentation: an order by its key, among these rows."""
    rows = Order.objects.all() if rows is None else rows
    with transaction.atomic():
        found = get_opened_or_404(rows, request.POST, pk=order.pk)
        form = OrderForm(request.POST or None, instance=found)
        if request.method == "POST" and form.is_valid():
            form.save()
            return HttpResponse("saved")
    return HttpResponse(PAGE.render(Context({"form": form, "request": request})))


def open_page(view, *args, **kwargs):
    return view(RequestFactory().get("/it/?page=2"), *args, **kwargs).content.decode()


def send(html, view, *args, **changes):
    data = {name: values[-1] for name, values in Inputs(html).data.items()}
    data |= changes
    kwargs = data.pop("_kwargs", {})
    request = RequestFactory().post("/it/?page=2", data)
    return view(request, *args, **kwargs).content.decode()


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


def test_a_page_that_nobody_else_changed_shows_nothing(order):
    html = open_page(edit, order)
    assert "optilock-conflict" not in html
    assert "conflict.css" not in html


def test_a_collision_is_asked_about_and_decided(order):
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).update(note="theirs", status="paid")
    html = send(html, edit, order, note="mine")
    assert "theirs" in html
    assert 'name="optilock_decision_note"' in html
    assert html.count('id="optilock-conflict"') == 1
    assert send(html, edit, order, optilock_decision_note="mine") == "saved"
    found = Order.objects.get()
    assert (found.note, found.status) == ("mine", "paid")


def test_the_panel_brings_its_style_and_script_and_leads_back(order):
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).update(note="theirs")
    html = send(html, edit, order, note="mine")
    assert re.search(r"<link[^>]+optilock/conflict\.css", html)
    assert re.search(r"<script[^>]+optilock/conflict\.js", html)
    assert 'href="/it/?page=2"' in html


def test_a_form_that_was_saved_and_is_shown_again_asks_nothing(order):
    data = values(OrderForm(instance=order))
    Order.objects.filter(pk=order.pk).update(note="theirs")
    form = OrderForm({**data, "note": "mine"}, instance=Order.objects.get())
    assert not form.is_valid()
    data |= {"note": "mine", "optilock_token": form["optilock_token"].value()}
    data["optilock_decision_note"] = "mine"
    form = OrderForm(data, instance=Order.objects.get())
    assert form.is_valid()
    form.save()
    assert "optilock-conflict" not in PAGE.render(Context({"form": form}))


def test_an_error_of_another_kind_asks_nothing(order):
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).update(note="theirs")
    html = send(html, edit, order, number="")
    assert "This field is required" in html
    assert "optilock-conflict" not in html


def test_who_it_was_what_it_is_and_the_way_back_can_be_said(order):
    page = Template(
        "{% load optilock %}"
        "{% conflict form author=bob subject='bill' reload_url='/x/' button='go' %}"
    )
    form = OrderForm(instance=order)
    data = values(form)
    Order.objects.filter(pk=order.pk).update(note="theirs")
    form = OrderForm({**data, "note": "mine"}, instance=Order.objects.get())
    assert not form.is_valid()
    html = page.render(Context({"form": form, "bob": panel.Author("Bob")}))
    assert "Bob saved this bill" in re.sub("[\u2066-\u2069]", "", html)
    assert 'name="go"' in html
    assert 'href="/x/"' in html


# --- an object that was deleted ------------------------------------------------


def test_a_deleted_object_is_shown_with_what_was_typed_and_made_again(order):
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).delete()
    html = send(html, edit, order, note="mine")
    assert "deleted" in html
    assert 'value="mine"' in html
    assert 'name="optilock_decision_"' in html
    assert send(html, edit, order, optilock_decision_="mine") == "saved"
    assert Order.objects.get().note == "mine"


def test_a_form_that_cannot_recreate_keeps_what_was_typed(order, monkeypatch):
    monkeypatch.setattr(OrderForm, "can_recreate", False)
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).delete()
    html = send(html, edit, order, note="mine", optilock_decision_="mine")
    assert "deleted" in html
    assert "mine" in html
    assert 'name="optilock_decision_"' not in html
    assert not Order.objects.exists()


def test_a_collision_offers_no_new_object(order):
    html = open_page(edit, order)
    Order.objects.filter(pk=order.pk).update(note="theirs")
    assert 'name="optilock_decision_"' not in send(html, edit, order, note="mine")


def test_an_object_that_left_the_rows_is_not_told_about(order):
    rows = Order.objects.filter(status="open")
    html = open_page(edit, order, rows)
    Order.objects.filter(pk=order.pk).update(status="paid", note="hush")
    html = send(html, edit, order, note="mine", _kwargs={"rows": rows})
    assert "not visible to you" in html
    assert "hush" not in html
    assert 'name="optilock_decision_"' not in html


@pytest.mark.parametrize("token", [None, "", "garbled"])
def test_a_deleted_object_that_was_not_opened_is_not_there(order, token):
    Order.objects.filter(pk=order.pk).delete()
    post = {} if token is None else {"optilock_token": token, "note": "mine"}
    for request in (RequestFactory().get("/"), RequestFactory().post("/", post)):
        with pytest.raises(Http404):
            edit(request, order)


def test_another_objects_form_brings_nothing_back(order):
    other = OrderFactory()
    html = open_page(edit, other)
    Order.objects.filter(pk=order.pk).delete()
    with pytest.raises(Http404):
        send(html, edit, order)


def test_an_object_is_found_by_what_its_page_has_shown(order):
    form = OrderForm(instance=order)
    data = values(form)
    Order.objects.filter(pk=order.pk).update(number="renamed")
    assert get_opened_or_404(Order, data, number="17") == order
    Order.objects.filter(pk=order.pk).delete()
    opened = get_opened_or_404(Order.objects, data, number="17")
    assert (opened.number, opened._state.adding) == ("17", True)
    for lookup in ({"number": "18"}, {"number__startswith": "1"}, {"pk": 0}):
        with pytest.raises(Http404):
            get_opened_or_404(Order, data, **lookup)


def test_a_form_with_a_prefix_is_found(order):
    form = OrderForm(instance=order, prefix="head")
    data = values(form)
    pk = order.pk
    Order.objects.filter(pk=order.pk).delete()
    opened = get_opened_or_404(Order, data, prefix="head", pk=pk)
    form = OrderForm(data, instance=opened, prefix="head")
    assert not form.is_valid()
    assert form.conflict.deleted


def test_a_new_object_of_ones_own_is_not_taken_for_a_deleted_one(order):
    data = values(OrderForm(instance=order))
    Order.objects.filter(pk=order.pk).delete()
    form = OrderForm({**data, "number": "18"}, instance=Order())
    assert form.is_valid(), form.errors
    assert form.save().pk


def test_what_was_made_again_is_an_object_as_any_other(order):
    html = open_page(edit, order)
    data = {name: values[-1] for name, values in Inputs(html).data.items()}
    pk = order.pk
    Order.objects.filter(pk=order.pk).delete()
    opened = get_opened_or_404(Order, data, pk=pk)
    form = OrderForm(data, instance=opened)
    form.is_valid()
    data["optilock_token"] = form["optilock_token"].value()
    form = OrderForm({**data, "optilock_decision_": "mine"}, instance=opened)
    assert form.is_valid(), form.errors
    again = form.save()
    form = OrderForm(instance=again)
    data = values(form)
    form = OrderForm({**data, "note": "once more"}, instance=again)
    assert form.is_valid(), form.errors
    form.save()
    assert Order.objects.get().note == "once more"


# --- formsets ------------------------------------------------------------------


def edit_lines(request, order):
    lines = Lines(request.POST or None, instance=order)
    if request.method == "POST" and lines.is_valid():
        lines.save()
        return HttpResponse("saved")
    return HttpResponse(ROWS.render(Context({"rows": lines})))


def test_the_rows_of_a_formset_are_asked_about_in_one_panel(order):
    for product in ("Pen", "Ink"):
        LineFactory(order=order, product=product, quantity=1)
    html = open_page(edit_lines, order)
    Line.objects.update(quantity=5)
    html = send(
        html, edit_lines, order, **{"lines-0-quantity": 7, "lines-1-quantity": 8}
    )
    assert html.count('id="optilock-conflict"') == 1
    assert "Pen" in html
    decisions = {
        "lines-0-optilock_decision_quantity": "mine",
        "lines-1-optilock_decision_quantity": "theirs",
    }
    assert send(html, edit_lines, order, **decisions) == "saved"
    assert sorted(Line.objects.values_list("quantity", flat=True)) == [5, 7]


def test_a_row_that_somebody_deleted_is_asked_about(order):
    LineFactory(order=order, product="Pen", quantity=1)
    html = open_page(edit_lines, order)
    Line.objects.all().delete()
    html = send(html, edit_lines, order, **{"lines-0-quantity": 7})
    assert 'name="lines-0-optilock_decision_"' in html
    answer = {"lines-0-optilock_decision_": "mine"}
    assert send(html, edit_lines, order, **answer) == "saved"
    assert Line.objects.get().quantity == 7


def test_a_formset_without_its_token_says_what_is_wrong(order):
    LineFactory(order=order, product="Pen", quantity=1)
    html = open_page(edit_lines, order)
    html = send(html, edit_lines, order, **{"lines-optilock_token": ""})
    assert "too old" in html
    assert send(html, edit_lines, order) == "saved"


def test_rows_that_came_are_told_where_a_formset_asks_always(order, monkeypatch):
    monkeypatch.setattr(Orders.form, "ask_always", True)

    def edit_orders(request):
        rows = Orders(request.POST or None)
        if request.method == "POST" and rows.is_valid():
            return HttpResponse("saved")
        return HttpResponse(ROWS.render(Context({"rows": rows})))

    html = open_page(edit_orders)
    OrderFactory(number="4711")
    html = send(html, edit_orders)
    assert "4711" in html
    assert send(html, edit_orders) == "saved"


def test_other_errors_of_a_formset_are_left_to_the_template(order):
    formset = Lines({"lines-TOTAL_FORMS": "x"}, instance=order)
    assert not formset.is_valid()
    assert ROWS.render(Context({"rows": formset})).count("ManagementForm") == 0


def test_a_form_and_a_formset_share_a_panel(order):
    page = Template("{% load optilock %}{% conflict form rows %}{{ form }}{{ rows }}")
    LineFactory(order=order, product="Pen", quantity=1)

    def edit_both(request):
        found = Order.objects.get()
        form = OrderForm(request.POST or None, instance=found)
        rows = Lines(request.POST or None, instance=found)
        if request.method == "POST" and all([form.is_valid(), rows.is_valid()]):
            form.save()
            rows.save()
            return HttpResponse("saved")
        return HttpResponse(page.render(Context({"form": form, "rows": rows})))

    html = open_page(edit_both)
    Order.objects.update(note="theirs")
    Line.objects.update(quantity=5)
    html = send(html, edit_both, note="mine", **{"lines-0-quantity": 7})
    assert html.count('id="optilock-conflict"') == 1
    answer = {
        "optilock_decision_note": "mine",
        "lines-0-optilock_decision_quantity": "mine",
    }
    assert send(html, edit_both, **answer) == "saved"
    assert (Order.objects.get().note, Line.objects.get().quantity) == ("mine", 7)


def test_a_file_in_a_form_without_a_conflict_is_asked_for_again(order):
    class WithFile(OrderForm):
        scan = forms.FileField(required=False)

    page = Template("{% load optilock %}{% conflict form rows %}{{ form }}")
    line = LineFactory(order=order, quantity=1)
    form, rows = WithFile(instance=order), Lines(instance=order)
    html = f"<form>{form}{rows}</form>"
    data = {name: values[-1] for name, values in Inputs(html).data.items()}
    Line.objects.filter(pk=line.pk).update(quantity=5)
    data["lines-0-quantity"] = "7"
    files = {"scan": SimpleUploadedFile("a.txt", b"a")}
    form = WithFile(data, files, instance=Order.objects.get())
    rows = Lines(data, instance=order)
    assert form.is_valid()
    assert not rows.is_valid()
    html = page.render(Context({"form": form, "rows": rows}))
    assert "You had chosen a.txt: choose it again, or save without it." in html


# --- what isn't a versioned form -----------------------------------------------


class Plain(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["note"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Plain, "VersionedModelForm"),
        (modelformset_factory(Order, fields=["note"]), "VersionedModelFormSet"),
        (modelformset_factory(Order, form=OrderForm), "VersionedModelFormSet"),
        (
            inlineformset_factory(Order, Line, fields="__all__"),
            "VersionedInlineFormSet",
        ),
        (lambda: "", "''"),
        (lambda: None, "None"),
    ],
)
def test_what_would_never_show_a_conflict_is_refused(given, text):
    with pytest.raises(TypeError, match=text):
        PAGE.render(Context({"form": given()}))


def test_a_tag_without_a_form_is_refused():
    with pytest.raises(TypeError, match="form"):
        Template("{% load optilock %}{% conflict %}").render(Context())
