#!/usr/bin/env bash
# lm-eval on the task in lm_eval_task: bash lm_eval.sh http://127.0.0.1:8000/v1 smollm2-135m
set -euo pipefail
base=$1 model=$2
cd "$(dirname "$0")/lm_eval_task"
# The data are a local file; without these two the hub is asked about it all the same.
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
lm_eval run --model local-chat-completions \
    --model_args "base_url=$base/chat/completions,model=$model@sc4,num_concurrent=4,max_retries=2" \
    --tasks made_up_arithmetic --include_path . --apply_chat_template
