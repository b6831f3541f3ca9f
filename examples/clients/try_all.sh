#!/usr/bin/env bash
# Every client against a running server: bash try_all.sh http://127.0.0.1:8000/v1 smollm2-135m
# With a server that asks for a key: OPENAI_API_KEY=... bash try_all.sh ...
# Exit status 0 if all of them passed.
set -uo pipefail
[ $# = 2 ] || { echo "usage: try_all.sh BASE_URL MODEL, like http://127.0.0.1:8000/v1 smollm2-135m" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
rows=()

version() { # of a Python package, or nothing
    python -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "$1" 2>/dev/null
}

try() { # client, version, command...
    local client=$1 version=$2 passed=yes began=$SECONDS
    shift 2
    if [ -z "$version" ]; then
        version=- passed="not installed"
    elif ! timeout 600 "$@" >"$out/$client" 2>&1 </dev/null; then
        passed=no
        { echo "== $client"; tail -n 25 "$out/$client"; } >&2
    elif [ -n "${SHOW:-}" ]; then
        { echo "== $client"; cat "$out/$client"; } >&2
    fi
    [ "$passed" = yes ] || failed=1
    rows+=("$(printf '%-12s %-10s %-14s %4d s' "$client" "$version" "$passed" $((SECONDS - began)))")
}

try openai "$(version openai)" python "$here/openai_client.py" "$@"
try lm-eval "$(version lm-eval)" bash "$here/lm_eval.sh" "$@"
try inspect-ai "$(version inspect-ai)" bash "$here/inspect.sh" "$@"
try dspy "$(version dspy)" python "$here/dspy_program.py" "$@"
try llm "$(version llm)" bash "$here/llm.sh" "$@"
try curl "$(curl --version 2>/dev/null | sed -n '1s/^curl \([^ ]*\).*/\1/p')" bash "$here/curl.sh" "$@"

printf '%-12s %-10s %-14s %6s\n' client version passed took
printf '%s\n' "${rows[@]}"
exit $failed
