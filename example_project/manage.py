#!/usr/bin/env python
"""The example project's command line: `manage.py demo` is where to begin."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        import rich  # noqa: F401, I001 -- quick to import, so asked first
        import factory  # noqa: F401
        import rest_framework  # noqa: F401
        from django.core.management import execute_from_command_line

        import optilock  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            f"{error}. Install the example and what it needs, with the Python that "
            f'runs this: pip install ".[example]"'
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
