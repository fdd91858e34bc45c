#!/bin/sh
# Make or complete the virtual environment that every make target uses.
#
# Called as: setup.sh VENV STAMP, from the repository root, by the Makefile, when STAMP
# does not exist. STAMP carries a checksum of what is installed and is written last: an
# environment without any stamp was interrupted half-way and is made anew, one with
# the stamp of older requirements is brought up to date.
set -u
venv=$1
stamp=$2
log=build/install.log

fail() {
    echo "setup: $*" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The Python named by the user, or else the first one that is new enough.
if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null 2>&1 ||
        fail "there is no '$PYTHON'; give a Python 3.11 or newer: make PYTHON=python3.11"
    new_enough "$PYTHON" ||
        fail "'$PYTHON' is older than 3.11; give a newer one: make PYTHON=python3.11"
else
    for PYTHON in python3 python3.11 python3.12 python3.13 python; do
        new_enough "$PYTHON" && break
        PYTHON=
    done
    [ -n "$PYTHON" ] ||
        fail "no Python 3.11 or newer was found; install one, or give it: make PYTHON=..."
fi

mkdir -p build 2>/dev/null && true >"$log" 2>/dev/null ||
    fail "the folder 'build' cannot be written: free some space, or clone to a folder of your own."

# Says why an installation failed, as far as the log tells.
explain() {
    if grep -qi "no space left" "$log"; then
        fail "the disk is full: free some space and call make again ($log has the details)."
    elif grep -qE "ConnectionError|Connect(ion)?Timeout|ReadTimeout|ProxyError|SSLError|name resolution|Connection (refused|broken|reset)|Network is unreachable" "$log"; then
        fail "the package index cannot be reached: check the network and call make again."
    fi
}

if ls "$venv"/.installed-* >/dev/null 2>&1; then
    rm -f "$venv"/.installed-*
elif ! "$PYTHON" -m venv --clear "$venv" >>"$log" 2>&1; then
    explain
    fail "'$PYTHON -m venv' failed ($log has why; on Debian install python3-venv)."
fi

echo "Installing the packages of requirements.txt into $venv (once, a few minutes) ..."
pip() {
    "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        "$@" >>"$log" 2>&1
}
if pip -r requirements.txt && pip --no-deps --editable .; then
    true >"$stamp" || fail "the disk is full: free some space and call make again."
    exit 0
fi
explain
tail -n 20 "$log" >&2
fail "pip could not install the packages (above, and in $log); mend that and call make again."
