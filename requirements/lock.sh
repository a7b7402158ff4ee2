#!/bin/sh
# Writes requirements/run.txt and requirements/test.txt: every package, exactly pinned.
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
