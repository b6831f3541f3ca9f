#!/usr/bin/env bash
# The `llm` command line: bash llm.sh http://127.0.0.1:8000/v1 smollm2-135m
set -euo pipefail
base=$1 model=$2
# A folder of its own, so that the user's llm is left alone; ordinarily `llm` says where it belongs:
#   "$(dirname "$(llm logs path)")/extra-openai-models.yaml"
LLM_USER_PATH=$(mktemp -d)
export LLM_USER_PATH
trap 'rm -rf "$LLM_USER_PATH"' EXIT
cat >"$LLM_USER_PATH/extra-openai-models.yaml" <<END
- model_id: bare
  model_name: "$model"
  api_base: "$base"
  api_key_name: openai
- model_id: sc4
  model_name: "$model@sc4"
  api_base: "$base"
  api_key_name: openai
END
export OPENAI_API_KEY=${OPENAI_API_KEY:-none}

echo "bare, streamed:"
llm -m bare -s "Be brief." -o temperature 0.5 -o max_tokens 24 "Say hello."
echo "a vote of four, streamed:"
llm -m sc4 "What is 3 + 4?"
echo "a conversation goes on:"
llm -m sc4 --continue "And what is that plus 1?"
echo "not streamed: what came back is in the log of llm, the ponder object too"
llm -m sc4 --no-stream "What is 3 + 4?"
llm logs --count 1 --json | python -c '
import json, sys
ponder = json.load(sys.stdin)[0]["response_json"]["ponder"]
print("answer:", ponder["answer"], "probability:", ponder["probability"])
'
