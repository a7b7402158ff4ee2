#!/bin/sh
# Writes requirements/*.txt: every package, exactly pinned.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check"

freeze() {
  # A local build tag (torch's +cpu) is not part of the pin.
  $pip freeze --all --exclude pip --exclude setuptools --exclude textmill \
    | grep -v '^-e ' | sed 's/+cpu$//'
}

$pip install --quiet hatchling editables
$pip install --quiet --editable ..
{ echo "# Made by requirements/lock.sh from pyproject.toml."; freeze; } >run.txt
$pip install --quiet -r test.in
{
  echo "# Made by requirements/lock.sh from requirements/test.in; on top of run.txt."
  freeze | grep -v -x -F -f run.txt
} >test.txt

# Clients of the gateway that the tests run, each in an environment of its own as its users have it.
client() {
  name=$1
  says=$2
  shift 2
  "${PYTHON:-python3}" -m venv "$work/$name"
  pip="$work/$name/bin/python -m pip --disable-pip-version-check"
  $pip install --quiet "$@"
  { echo "# Made by requirements/lock.sh: $says, an environment of its own."; freeze; } >"$name.txt"
}

client sagemaker-2.257 "sagemaker==2.257.7 and pandas" sagemaker==2.257.7 pandas
# It pins PyYAML 6.0, which has no wheels for Python 3.12 and newer.
client sagemaker-2.165 "sagemaker==2.165.0 and pandas; Python 3.11" sagemaker==2.165.0 pandas
client awscli-1 "awscli 1" "awscli<2"

# The recipe of the embedded model.
"${PYTHON:-python3}" -m venv "$work/training"
pip="$work/training/bin/python -m pip --disable-pip-version-check"
$pip install --quiet -r ../training/requirements.in
{
  echo "# Made by requirements/lock.sh from training/requirements.in: an environment of its own."
  freeze
} >../training/requirements.txt
