#!/bin/sh
# Runs a command of the clone that this folder lies in, with the clone's own Python where it has one.
cd "$(dirname "$0")/.." || exit 1
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python; fi
exec "$python" opportune.py "$@"
