#!/usr/bin/env bash
# Makes .venv with Python 3.13 and the pinned requirements. Called by make; may be called again.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(cat .python-version)

say() { printf '%s\n' "$*" >&2; }

if [ -L .venv ]; then rm .venv; fi  # a link is replaced; what it leads to is not ours to clear

if command -v uv >/dev/null 2>&1; then
  say "Setting up .venv with uv and Python ${version} ..."
  uv venv --quiet --clear --python "$version" .venv
  uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements-dev.txt
  exit 0
fi

find_python() {
  if command -v pyenv >/dev/null 2>&1; then
    local newest
    newest=$(pyenv versions --bare 2>/dev/null | grep -E "^${version//./\\.}\.[0-9]+$" | sort -V | tail -n 1 || true)
    if [ -n "$newest" ]; then
      printf '%s\n' "$(pyenv root)/versions/${newest}/bin/python"
      return
    fi
  fi
  for candidate in "python${version}" python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '${version}')" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

if ! python=$(find_python); then
  say "Bulkhead needs Python ${version} and found none."
  say "Install it with one of: 'uv python install ${version}', 'pyenv install ${version}', or your system's packages."
  exit 1
fi
say "Setting up .venv with $("$python" --version) ..."
"$python" -m venv --clear .venv
.venv/bin/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt
