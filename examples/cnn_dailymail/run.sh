#!/bin/sh
# FLAN-T5 summarises the test split of CNN/DailyMail, and ROUGE says how well.
# usage: run.sh FOLDER [FLAG OF textmill run …]      e.g. run.sh out --sample 100
# MODEL and DATA choose others; HF_ENDPOINT chooses another hub.
set -eu
folder=$1
shift
MODEL=${MODEL:-google/flan-t5-large}
DATA=${DATA:-hf://datasets/abisee/cnn_dailymail/3.0.0/test}
mkdir -p "$folder"

textmill run "$DATA" -o "$folder/predict.jsonl" --model "$MODEL" \
  --prompt "Briefly summarize this text: {article}" --id id \
  --set max_length=50 --set do_sample=true --set top_k=50 --set top_p=0.95 --seed 0 "$@"

textmill score "$folder/predict.jsonl" "$DATA" --on id --ref highlights
