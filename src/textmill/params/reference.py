"""The page docs/reference/parameters.md, written from the table.

Run `python -m textmill.params.reference > docs/reference/parameters.md` after a change.
"""

from __future__ import annotations

import json
import sys

from msgspec import UNSET

from textmill.params.foreign import PASSED_OVER, REFUSED
from textmill.params.literals import MAX_CHARS, MAX_DEPTH
from textmill.params.schema import PARAMETERS, Group, Parameter

_INTRO = """\
# Generation parameters

<!-- Written by `python -m textmill.params.reference` from params/schema.py: edit that. -->

The names and meanings are those of transformers' `generate`. A parameter may stand in a record,
in `--set name=value` (or a keyword argument in Python), in `HYPER_PARAMS`, in a catalog entry and
in a model's `generation_config.json`. A wrong name, type, range or combination is an error that
names the parameter, the value and the rule, before any work; a record's own wrong parameter fails
that record only.

Numbers are JSON numbers: `50.0` is `50`, and `true` is not `1`.
"""

_PRECEDENCE = f"""\
## Which value wins

1. the record's own, unless `HYPER_PARAMS` is set (see below)
2. the command line or the request: `--set`, `--seed`, keyword arguments
3. `HYPER_PARAMS` in the environment
4. the catalog entry of the model
5. the model's `generation_config.json` (or its `config.json`, for models without one)
6. textmill's defaults, as stated below

Each parameter is decided on its own. What a layer does not hold is not said; `null` is a value and
only allowed where it is listed, except in a model's files, where it means "not said".

* `max_length` and `max_new_tokens` say the same thing, and so do `min_length` and
  `min_new_tokens`, `tgt_lang` and `forced_bos_token_id`. The nearer layer wins, whichever of the
  two it uses; both in one layer are an error. (In a model's file `max_new_tokens` wins, as in
  `generate`.)
* With `HYPER_PARAMS` in the environment of a job, JumpStart's rule holds: parameters inside the
  records are ignored, all of them, and the job says how many records had some. A `--set` on the
  command line still beats `HYPER_PARAMS`.
* `HYPER_PARAMS` is a JSON object or a Python dict as `str()` writes it: at most {MAX_CHARS:,}
  characters, nested at most {MAX_DEPTH} deep, each key once. It is never evaluated.
"""

_COMBINATIONS = """\
## Rules between parameters

* `num_return_sequences` is at most `num_beams`; with `do_sample` and `num_beams=1` it may be any
  number. (JumpStart's container raises `num_beams` silently; textmill says what to set.)
* `min_new_tokens` is at most `max_new_tokens`. A minimum that comes with the model gives way to
  your limit, and the job says so; your own minimum over the limit is an error.
* `temperature`, `top_k`, `top_p` and `seed` have no effect without `do_sample`, and
  `early_stopping`, `length_penalty` and `renormalize_logits` none without beams. They are accepted
  and checked, because payloads written for JumpStart carry them; the job notes that they had no
  effect.
* `temperature=0` is an error: for the most likely text leave `do_sample` off.
* A token cannot be forced and suppressed at once.
"""

_FOREIGN = """\
## Parameters of transformers that textmill does not have

From a user each is an error. A model whose `generation_config.json` sets one is refused too, unless
it is null or has the value shown, with which it does nothing.

| name | what it does | no effect with |
|---|---|---|
"""

_PASSED = """
These settings do not change the texts. In a model's file they are passed over; so are keys that
`generate` does not know either, which the job lists.

"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [_INTRO, _PRECEDENCE, _COMBINATIONS]
    for group in Group:
        rows = [row for row in PARAMETERS if row.group is group]
        parts.append(f"## {group}\n\n" + "\n".join(_entry(row) for row in rows))
    return "\n".join(parts) + "\n" + _FOREIGN + _refused() + _PASSED + _passed_over()


def _entry(row: Parameter) -> str:
    facts = [row.rule.removeprefix("must be ")]
    if row.default is not UNSET:
        facts.append(f"default `{_literal(row.default)}`")
    if row.aliases:
        facts.append("also " + ", ".join(f"`{alias}`" for alias in row.aliases))
    return f"### `{row.name}`\n\n*{' · '.join(facts)}*\n\n{row.doc}\n"


def _literal(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _refused() -> str:
    lines = []
    for name, refused in REFUSED.items():
        neutral = ", ".join(f"`{_literal(value)}`" for value in refused.neutral) or "–"
        lines.append(f"| `{name}` | {refused.what} | {neutral} |\n")
    return "".join(lines)


def _passed_over() -> str:
    return ", ".join(f"`{name}`" for name in sorted(PASSED_OVER)) + ".\n"


if __name__ == "__main__":
    sys.stdout.write(page())
