"""Each test of theirs that doesn't pass with optilock behind its names, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["CONCURRENCY", "OPTIMISTIC_LOCK"]


def by_name(reasons: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the reason of each test, by its whole name: a new failure has none."""
    return {name: reason for reason, names in reasons.items() for name in names}


def each(name: str) -> list[str]:
    """Return the tests of that name, which are run with several of their models."""
    models = ("AutoInc", "Concrete", "CustomSave", "Inherited", "Proxy", "Simple")
    long = ("AutoInc", "Simple")
    return [f"{name}[{m}{'Concurrent' * (m in long)}Model]" for m in models]


def of(where: str, *names: str) -> list[str]:
    """Return the tests of a module, or of a class in it."""
    return [f"{where}.{name}" for name in names]


_NO_INPUT = "wants an input for the number; ours is a token"
_OVERWRITES = (
    "wants update_fields to leave the version, so that the next one overwrites"
)

CONCURRENCY = by_name(
    {
        # It fails with django-concurrency itself as well.
        "looks for a text that Django 5.2's page doesn't have": of(
            "test_admin_actions.TestAdminActions", "test_delete_allowed_if_no_updates"
        ),
        _OVERWRITES: each("test_base.test_update_fields"),
        "wants version 0 to mean that nothing is checked; here it is a number": [
            *each("test_base.test_do_not_check_if_no_version"),
            "test_issues.test_issue_54",
        ],
        "writes rows without raising the number; optilock has no such switch": of(
            "test_enable_disable",
            "test_concurrency_disable_increment",
            "test_concurrency_disable_increment_as_decorator",
            "test_concurrency_disable_increment_on_class",
        ),
        "a save() of all fields is always counted: write only what changed": (
            of("test_conditional", "test_save_allowed", "test_standard_save")
        ),
        "a model with a version field and no lock isn't to be had": [
            "test_concurrencymetainfo.TestCustomConcurrencyMeta.test_enabled"
        ],
        "calls a function of theirs; is_stale() is ours": [
            "test_core.test_select_lock"
        ],
        "wants their own check; ours are optilock.E013 and W042": [
            "test_checks.test_check"
        ],
        "save(refetch=True): the number is right without reading it again": [
            "test_triggerversionfield.test_trigger"
        ],
        "raises an error of theirs by hand, or wants their 409 page": of(
            "test_middleware",
            "ConcurrencyMiddlewareTest1.test_process_exception",
            "ConcurrencyMiddlewareTest2.test_in_admin",
            "test_middleware",
        ),
        "wants a version in fields, where ours is an error": of(
            "test_issues", "test_issue_81a", "test_issue_81b"
        ),
        "sends their input to a method of their admin class": [
            "test_issues.TestIssue16.test_concurrency"
        ],
        _NO_INPUT: [
            *of(
                "test_forms.ConcurrentFormTest",
                "test_custom_name",
                "test_dummy_signer",
                "test_initial_value",
                "test_is_valid",
                "test_save",
                "test_tamperig",
                "test_version",
            ),
            "test_forms.test_disabled",
            "test_admin_edit.TestAdminEdit.test_sanity_signer",
        ],
        "the row was saved and not changed: a form that compares finds no conflict": of(
            "test_admin_edit",
            "TestAdminEdit.test_conflict",
            "TestConcurrentModelAdmin.test_conflict",
            "test_conflict",
        ),
        "wants their message; ours is a page that asks": of(
            "test_admin_actions.TestAdminActions",
            "test_delete_not_allowed_if_updates",
            "test_dummy_action",
            "test_dummy_action_select_across",
        ),
        "wants their policies and messages; ours merges, or asks on the page": of(
            "test_admin_list_editable.TestListEditable",
            "test_concurrency_policy_abort",
            "test_concurrency_policy_silent",
            "test_log_change",
            "test_message_user",
            "test_message_user_no_changes",
        ),
    }
)

OPTIMISTIC_LOCK = by_name(
    {
        _OVERWRITES: of(
            "tests.tests.OolTests",
            "test_abstract",
            "test_inheritance",
            "test_proxy",
            "test_simple",
            "test_unversioned_parent",
        ),
        "wants a RuntimeError for a version that was deferred; ours is a ValueError": [
            "tests.tests.OolTests.test_defer_version"
        ],
        "wants their widget in the admin": ["tests.tests.FormTests.test_admin"],
    }
)
