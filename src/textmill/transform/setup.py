"""The part of a job that does not touch its output: model, parameters, shape of the records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from textmill.batching.scheduler import BatchLimits
from textmill.catalog.catalog import Artifact, resolve
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.catalog.leases import lease
from textmill.core import Params
from textmill.engines.checkpoint import Checkpoint
from textmill.engines.isolated import DEFAULT_TIMEOUT_S
from textmill.engines.loading import LoadedModel, check_engine, load_model
from textmill.errors import ParameterError, PromptError, UsageError
from textmill.params import KNOWN_NAMES, Layer, Origin, Resolver, parse_hyper_params
from textmill.records.jsonpath import Path as JsonPath
from textmill.records.jsonpath import parse_path
from textmill.records.prompt import parse_prompt
from textmill.records.shape import Shape
from textmill.transform.arguments import check_types
from textmill.transform.plan import ModelIdentity
from textmill.transform.remote import ECHO, check_flags, is_remote, open_remote
from textmill.transform.windows import Preparer
from textmill.words import kind_of, written


class SetupRequest(Struct, frozen=True, kw_only=True):
    """What decides a job's texts, apart from its input. `textmill.run` documents the fields."""

    model: str | Path | None = None
    prompt: str | None = None
    id: str = "id"
    keep: Sequence[str] = ()
    input_filter: str | None = None
    join: str | None = None
    parameters: Mapping[str, Any] = {}
    hyper_params: str | None = None
    record_params: bool = True
    seed: int | None = None
    truncate: bool = False
    max_input_tokens: int | None = None
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_batch_tokens: int | None = None
    concurrency: int | None = None
    api_key: str | None = None
    api_key_file: str | Path | None = None
    api_key_over_http: bool = False
    timeout: float | None = DEFAULT_TIMEOUT_S
    offline: bool = False
    home: Path
    on_transfer: Callable[[Transfer], None] | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for what can be no argument, before anything is looked for."""
        check_types(self)
        check_engine(self.engine)

    @property
    def columns(self) -> tuple[str, ...]:
        """`keep`, which may be the name of one column. Raises `UsageError`."""
        names = (self.keep,) if isinstance(self.keep, str) else tuple(self.keep)
        for name in names:
            if not isinstance(name, str):
                raise UsageError(f"keep={written(names)}: {kind_of(name)} is no column's name")
        return names


class Setup:
    """A loaded model with everything that is needed to make records ready for it.

    Owns the engine; a context manager that closes it.
    """

    def __init__(
        self,
        request: SetupRequest,
        output_filter: JsonPath | None = None,
        *,
        gives_way: bool = False,
    ) -> None:
        """Raises `UsageError` and its kin for whatever cannot work, cheapest checks first.

        output_filter: what of each result a job writes. gives_way: as in `load_model`.
        """
        self.shape = shape_of(request)
        layers = user_layers(request)
        Resolver(layers, language_token_id=lambda _: 0)  # a misspelt name costs no download
        _check_numbers(request)
        check_flags(request)
        self.artifact = find_model(request)
        with ExitStack() as stack:
            if self.artifact is not None:
                stack.enter_context(lease(request.home, self.artifact.folder))
            self.model = _load(request, self.artifact, gives_way=gives_way)
            stack.callback(self.model.close)
            self.resolver = self._resolver(layers, request)
            self._check(self.resolver.base)
            self.limits = self._limits(request)
            self.max_input_tokens = self._input_limit(request)
            self.preparer = Preparer(
                self.resolver,
                self.model.tokenizer,
                self.model.engine,
                max_input_tokens=self.max_input_tokens,
                truncate=request.truncate,
                output_filter=output_filter,
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the engine's memory and threads back, and the model's files free."""
        self._stack.close()

    @property
    def identity(self) -> ModelIdentity:
        """The model, for the manifest and for the decision whether a job may be resumed."""
        checkpoint = self.model.checkpoint
        if self.artifact is None or checkpoint is None:
            return ModelIdentity(name=self.model.name, source=self.model.source)
        return ModelIdentity(
            name=self.artifact.name,
            source=self.artifact.source,
            revision=self.artifact.revision,
            model_type=checkpoint.architecture.model_type,
            files=tuple((f.name, f.bytes, f.sha256) for f in checkpoint.files),
        )

    def _resolver(self, layers: list[Layer], request: SetupRequest) -> Resolver:
        tokenizer, checkpoint = self.model.tokenizer, self.model.checkpoint
        if checkpoint is not None:
            default = Layer(Origin.DEFAULT, default_length(checkpoint))
            layers = [default, Layer(Origin.MODEL, model_layer(checkpoint)), *layers]
        if self.artifact is not None and self.artifact.entry is not None:
            layers = [Layer(Origin.CATALOG, self.artifact.entry.parameters), *layers]
        return Resolver(
            layers,
            record_params_ignored=request.hyper_params is not None,
            language_token_id=tokenizer.language_token_id if tokenizer.languages else None,
        )

    def _check(self, base: Params) -> None:
        """What every record would be refused for is refused once, before any work."""
        self.model.engine.check(base)
        self.model.tokenizer.encode([""], src_lang=base.src_lang)

    def _limits(self, request: SetupRequest) -> BatchLimits:
        capabilities = self.model.engine.capabilities
        return BatchLimits(
            max_batch_tokens=request.max_batch_tokens or capabilities.max_batch_tokens,
            max_batch_rows=capabilities.max_batch_rows,
        )

    def _input_limit(self, request: SetupRequest) -> int | None:
        checkpoint = self.model.checkpoint
        limits = (request.max_input_tokens, checkpoint.max_input_tokens if checkpoint else None)
        return min((limit for limit in limits if limit is not None), default=None)


def shape_of(request: SetupRequest) -> Shape:
    """How records are read. Raises `PromptError`, `UsageError`."""
    if request.prompt is not None:
        _check_text("prompt", request.prompt)
    return Shape(
        id_field=request.id,
        prompt=None if request.prompt is None else parse_prompt(request.prompt),
        keep=request.columns,
        input_filter=None if request.input_filter is None else parse_path(request.input_filter),
        join=is_join(request.join),
        parameters=KNOWN_NAMES,
        record_params=request.record_params,
    )


def is_join(join: str | None) -> bool:
    """SageMaker's JoinSource: `input`, or nothing. Raises `UsageError`."""
    if join is not None and join.lower() not in {"input", "none"}:
        raise UsageError(f"--join {join}: there is only the input to join", hint="--join input")
    return join is not None and join.lower() == "input"


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"the {name} is not UTF-8: {error.reason}") from error


def user_layers(request: SetupRequest) -> list[Layer]:
    """What the user said about generation. Raises `ParameterError`."""
    said = dict(request.parameters)
    if request.seed is not None:
        if "seed" in said:
            raise ParameterError("seed", said["seed"], "is given twice, as a parameter and as seed")
        said["seed"] = request.seed
    layers = [Layer(Origin.COMMAND, said)]
    if request.hyper_params is not None:
        layers.append(Layer(Origin.HYPER_PARAMS, parse_hyper_params(request.hyper_params)))
    return layers


def model_layer(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the model says about generation; its config decides where that is silent."""
    architecture = checkpoint.architecture
    tokens = {
        "decoder_start_token_id": architecture.decoder_start_token_id,
        "eos_token_id": list(architecture.eos_token_ids),
    }
    said = {k: v for k, v in checkpoint.generation_defaults.items() if v is not None}
    return {**tokens, **said}


def default_length(checkpoint: Checkpoint) -> dict[str, Any]:
    """textmill's default length, or the model's whole output where that is shorter."""
    positions = checkpoint.max_input_tokens  # one number serves input and output
    default = Params().max_new_tokens
    return {"max_new_tokens": min(default, positions)} if positions else {}


def find_model(request: SetupRequest) -> Artifact | None:
    """The model's files, fetched if need be; None for the echo engine and for servers."""
    if request.engine == ECHO or is_remote(request):
        return None
    if request.model is None:
        raise UsageError(
            "no model was named",
            hint="for example --model google/flan-t5-base, or --model demo for the embedded one;"
            " textmill models list shows more",
        )
    return resolve(
        str(request.model),
        home=request.home,
        hub=Hub(offline=request.offline),
        progress=request.on_transfer,
    )


def _load(request: SetupRequest, artifact: Artifact | None, *, gives_way: bool) -> LoadedModel:
    if is_remote(request):
        return open_remote(request)
    return load_model(
        artifact.folder if artifact else None,
        engine=request.engine,
        precision=request.precision,
        threads=request.threads,
        cache_dir=request.home / "engines",
        timeout_s=request.timeout or None,
        gives_way=gives_way,
    )


def _check_numbers(request: SetupRequest) -> None:
    for name in ("threads", "max_batch_tokens", "max_input_tokens", "concurrency"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}: must be at least 1")
    if request.timeout is not None and not 0 <= request.timeout < math.inf:
        raise UsageError(f"timeout={request.timeout}: must be seconds, or 0 for no limit")
