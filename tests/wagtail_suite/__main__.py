"""Runs Wagtail's own tests of pages, revisions and workflows with its models locked.

    python tests/wagtail_suite [--base-page] [--show] [label ...]

The pages are Wagtail's own ``Page`` or, with ``--base-page``, a model that Wagtail's
settings name instead, as a project's would.

What fails is run again with a plain column in place of the version. What fails beyond
that must stand in ``reasons.txt``, with its reason, as for Django's own tests. They are
those of the installed Wagtail, which has them in its wheel.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import wagtail

sys.path[0] = str(Path(__file__).parents[1])

from django_suite.comparison import Run, label, report, run  # noqa: E402 -- now it is there
from django_suite.reasons import listed  # noqa: E402

from wagtail_suite import inside  # noqa: E402

LABELS = ["test_page_model", "test_revision_model", "test_workflow"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--base-page", action="store_true", help="pages with a model of their own"
    )
    parser.add_argument("--show", action="store_true", help="show how each test failed")
    parser.add_argument("--inside", choices=["lock", "control"], help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("labels", nargs="*", help="`wagtail.tests.test_workflow`")
    options = parser.parse_args()
    if options.base_page:
        os.environ["USE_CUSTOM_PAGE_MODEL"] = "1"  # their settings look for it
    if options.inside:
        is_lock = options.inside == "lock"
        return inside.run(options.labels, options.into, is_lock=is_lock)
    command = [sys.executable, "-W", "default", __file__, "--inside"]
    labels = options.labels or [f"wagtail.tests.{name}" for name in LABELS]
    lock = run([*command, "lock"], *labels)
    again = sorted(map(label, lock.failed))
    control = run([*command, "control"], *again) if again else Run()
    what = f"Wagtail {wagtail.__version__}"
    expected = listed(Path(__file__).with_name("reasons.txt"), "base", "")
    return report(what, lock, control, expected, is_showing=options.show)


if __name__ == "__main__":
    sys.exit(main())
