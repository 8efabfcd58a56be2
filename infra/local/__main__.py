"""`python -m infra.local`: see cli.py."""

import sys

if sys.version_info < (3, 13):  # noqa: UP036 - said before the syntax of 3.13 is an error
    sys.exit("Bulkhead needs Python 3.13. Run `make setup`, then: .venv/bin/python -m infra.local")
try:
    from infra.local.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Run `make setup`, then: .venv/bin/python -m infra.local")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
