#!/bin/sh
# The main job on the embedded model: 2,000 Debian package descriptions, one synopsis each, scored
# beside what takes no model: the first eight words of each description.
# usage: demo.sh DATA FOLDER
set -eu
data=$1 folder=$2
BIN=${BIN:-$(dirname "$(command -v textmill)")}

show() {
  printf '\n$ %s\n' "$*"
  "$BIN/$@"
}

show textmill run "$data" -o "$folder/predict.jsonl" --model demo \
  --prompt "Briefly summarize this text: {document}" --set num_beams=4
show python "$(dirname "$0")/first_eight_words.py" "$data" "$folder/eight_words.jsonl"
show textmill score "$folder/predict.jsonl" "$data" --ref summary \
  --baseline "$folder/eight_words.jsonl" --report "$folder/report.html" >"$folder/scores.txt"
awk -v RS= 'NR > 1 { print text "\n" } { text = $0 }' "$folder/scores.txt"  # the answer comes last

printf '\nThe first three records, unselected:\n'
"$BIN/python" "$(dirname "$0")/first_three.py" "$data" "$folder/predict.jsonl"

cat <<EOF

What to type next:
  . .venv/bin/activate
  textmill run $data -o $folder/greedy.jsonl --model demo \\
      --prompt "Briefly summarize this text: {document}"
  textmill score $folder/predict.jsonl $data --ref summary --by section \\
      --baseline $folder/greedy.jsonl --report $folder/beams.html
  textmill models list          # models by name; any Hugging Face repository or folder works too
  textmill run --help

EOF
awk -v RS= '{ text = $0 } END { print text }' "$folder/scores.txt"
