"""What a page that is open says while others work on what it shows."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, JsonResponse
from django.utils.safestring import SafeString

from optilock import panel
from optilock.forms.form import VersionedFormMixin
from optilock.forms.token_field import TOKEN
from optilock.lookout import Lookout, WatchedInput, is_question
from optilock.panel import Author

__all__ = ["Watch"]


class Watch:
    """Lets the page of a form say who else has its row open, and who has saved it.

    In a view, make it once the form is made, and return its ``answer`` if there is
    one: the script of the page has asked. ``{{ watch }}`` in the template says who
    has it open; ``{{ form.media }}`` has the script.

    Args:
        request: the request.
        form: a ``VersionedModelForm`` of an object that is saved. Whoever sends the
            request may see that; this isn't checked again.
        seconds: how often the page asks.
        presence: whether to say who has it open; ``"optilock.presence"`` has to be in
            ``INSTALLED_APPS``.
        author: returns who changed the object since a moment, in milliseconds since
            the epoch, which is ``None`` if it isn't known.
        name: returns what a user is called, or an empty text for one who isn't to be
            named; by default the ``username``.

    Attributes:
        answer: what to answer, ``None`` if it is the page that is asked for.
    """

    def __init__(
        self,
        request: HttpRequest,
        form: VersionedFormMixin,
        *,
        seconds: int = 15,
        presence: bool = False,
        author: Callable[[int | None], Author] = lambda since: panel.NOBODY,
        name: Callable[[AbstractBaseUser], str] = AbstractBaseUser.get_username,
    ) -> None:
        given: object = form
        if not isinstance(given, VersionedFormMixin):
            raise TypeError(
                f"{type(form).__name__} isn't versioned: let it derive from "
                f"VersionedModelForm."
            )
        if seconds < 1:
            raise ValueError(f"seconds is {seconds!r}: write a number from 1 on.")
        self._lookout = Lookout(
            request,
            form.instance,
            author=author,
            name=name,
            seconds=seconds,
            presence=presence,
            prefix=form.prefix,
        )
        self.answer: JsonResponse | None = None
        if is_question(request):
            form.is_bound = False  # what was sent is the question
            self.answer = self._lookout.answer(lambda: form)
        elif TOKEN in form.fields and not form.instance._state.adding:
            form.fields[TOKEN].widget = WatchedInput(
                self._lookout.attributes(request.get_full_path(), form)
            )

    def __html__(self) -> SafeString:
        return self._lookout.line()

    __str__ = __html__
