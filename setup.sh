#!/bin/sh
# Makes .venv and installs Opportune with the given extras, at the exact versions of constraints.txt.
# Called by make. Says plainly what is missing.
set -eu
extras=$1

say() { printf '%s\n' "opportune: $*" >&2; }
fail() { say "$*"; exit 1; }

version_ok='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))'
if ! "$PYTHON" -c "$version_ok" 2>/dev/null; then
    for candidate in python3.11 python3.12 python3.13; do
        if "$candidate" -c "$version_ok" 2>/dev/null; then PYTHON=$candidate; break; fi
    done
    "$PYTHON" -c "$version_ok" 2>/dev/null ||
        fail "Python 3.11, 3.12 or 3.13 is needed, found $("$PYTHON" --version 2>&1 || echo none). Try: make demo PYTHON=/path/to/python3.11"
fi

if ! "$VENV/bin/python" -c "$version_ok" 2>/dev/null || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $VENV with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear "$VENV" ||
        fail "could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
fi

install() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$VENV/bin/python" -m pip install --quiet --progress-bar off "$@" ||
        fail "the installation stopped (no network, or the package index refused); what was fetched is kept: run the same command again"
}

say "installing (about 1.5 GB with torch; a few minutes the first time)"
# torch alone first: a looser range would take a build with gigabytes of GPU libraries.
if [ -n "${TORCH_INDEX:-}" ]; then
    install "torch==2.13.0" --index-url "$TORCH_INDEX"
else
    install "torch==2.13.0" -c constraints.txt
fi
install -c constraints.txt -e ".[$extras]"
# Commands of dependencies (mlflow, feast, ray) started from this environment call home no more than ours do.
cp quiet.pth "$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/opportune-quiet.pth"
say "installed"
