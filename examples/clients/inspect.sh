#!/usr/bin/env bash
# inspect-ai on inspect_task.py: bash inspect.sh http://127.0.0.1:8000/v1 smollm2-135m
set -euo pipefail
base=$1 model=$2
cd "$(dirname "$0")"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# openai-api/NAME/... reads NAME_BASE_URL and NAME_API_KEY.
export PONDER_BASE_URL=$base PONDER_API_KEY=${OPENAI_API_KEY:-none}
inspect eval inspect_task.py --model "openai-api/ponder/$model@sc4" \
    --display plain --log-dir "$logs" --max-retries 2
python inspect_task.py "$logs"/*.eval
