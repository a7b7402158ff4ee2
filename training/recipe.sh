#!/bin/sh
# Data, vocabulary, training, figures, model: `sh training/recipe.sh [folder]`. Can be stopped and
# run again: what is there is kept, and training goes on from its last checkpoint.
# MIRROR: a Debian mirror. PYTHON: 3.11 or newer. OMP_NUM_THREADS: processor cores to use.
set -eu
cd "$(dirname "$0")"
folder=${1:-build}
mkdir -p "$folder"
if [ ! -x "$folder/venv/bin/ready" ]; then
  "${PYTHON:-python3}" -m venv "$folder/venv"
  "$folder/venv/bin/python" -m pip --disable-pip-version-check install --quiet -r requirements.txt
  ln -sf python "$folder/venv/bin/ready"
fi
# Threads that wait asleep: on a machine with other work, spinning ones triple what a step costs.
export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0
# Freed memory is kept for the next step.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184
run() { "$folder/venv/bin/python" "$@" --folder "$folder"; }

[ -e "$folder/data.json" ] || run data.py --mirror "${MIRROR:-https://deb.debian.org/debian}"
[ -e "$folder/tokenizer/tokenizer.json" ] || run vocabulary.py
run train.py --steps 1500 --longest 64 --tokens 4000 --decay 0 --dropout 0
run train.py --steps "${STEPS:-4800}" --longest 128 --tokens 6000 --decay 0.4 --dropout 0.1
run evaluate.py --beams 4 --examples 20
run export.py --to "$folder/model"
