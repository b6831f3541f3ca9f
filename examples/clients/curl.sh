#!/usr/bin/env bash
# curl: bash curl.sh http://127.0.0.1:8000/v1 smollm2-135m
set -euo pipefail
base=$1 model=$2
python=$(command -v python3 || command -v python)
say() { # path, body, further options of curl
    local path=$1 body=$2
    shift 2
    curl --silent --show-error --fail-with-body "$base/$path" \
        -H "Authorization: Bearer ${OPENAI_API_KEY:-none}" -H "Content-Type: application/json" \
        -d "$body" "$@"
}

curl --silent --show-error --fail "$base/models" -H "Authorization: Bearer ${OPENAI_API_KEY:-none}"
echo

say chat/completions '{
    "model": "'"$model@sc4"'",
    "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    "ponder": {"kind": "number"}
}' | "$python" -c '
import json, sys
reply = json.load(sys.stdin)
print("content:", repr(reply["choices"][0]["message"]["content"]))
print("answer:", reply["ponder"]["answer"], "probability:", reply["ponder"]["probability"])
'

# The stream of a strategy: comment lines while it works, then its reply, then the end.
stream=$(say chat/completions '{
    "model": "'"$model@sc4"'",
    "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    "stream": true
}' --no-buffer)
echo "$stream"
[[ $stream == *"data: [DONE]" ]]

say completions '{"model": "'"$model"'", "prompt": "One, two, three,", "max_tokens": 8}'
echo
