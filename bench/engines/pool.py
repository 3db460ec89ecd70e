"""Pool files: which models there are, what each costs, where each is found, and the engine that runs it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from bench.engines.base import Engine
from routers.disrouter.checkpoint import TRAINED, refuse_other
from routers.language_models import MODELS_VARIABLE, folders
from tasks.errors import InputError, one_of
from tasks.types import Model, ModelPool, Record, Share

EngineName = Literal["vllm", "openai", "transformers"]
ENGINES: Mapping[str, str] = {
    "vllm": "bench.engines.vllm:VLLMEngine",
    "openai": "bench.engines.openai:OpenAIEngine",
    "transformers": "bench.engines.transformers:TransformersEngine",
}
DECISIVE = ("model", "folder", "hub", "server")
_MODEL_FILE_LIMIT = 1_000_000
_Name = Annotated[str, Field(min_length=1)]


class Server(Record):
    """An OpenAI-compatible server: its address up to `/v1`, its name of the model, the variable with the key."""

    url: str
    model: _Name
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("allowed: http:// or https://, a host, and the path up to /v1")
        if parts.username is not None or parts.query:
            raise ValueError("an address holds no key or password; name an environment variable in key_env")
        return url


class PoolEntry(Record):
    """One model of a pool file; it is found in a folder, on the hub, or at a server: one of them or more.

    `origin` and `quantisation` are notes for people on the weights in the folder; they change nothing.
    """

    model: _Name
    cost: Share
    parameters: Annotated[int, Field(gt=0)] | None = None
    folder: _Name | None = None
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    server: Server | None = None
    origin: _Name | None = None
    quantisation: _Name | None = None

    @model_validator(mode="after")
    def _found_somewhere(self) -> Self:
        if self.folder is None and self.hub is None and self.server is None:
            raise ValueError("one of folder, hub and server is needed")
        return self

    @property
    def key(self) -> str:
        """What tells apart whatever is loaded: the model's name."""
        return self.model

    def record(self) -> Model:
        """Return the entry as a suite's manifest keeps it; a folder, which is a private place, is not told."""
        source = self.hub or (self.server.model if self.server else None)
        return Model(
            model=self.model,
            cost=self.cost,
            parameters=self.parameters,
            source=source,
            origin=self.origin,
            quantisation=self.quantisation,
        )

    def plain(self) -> dict[str, Any]:
        """Return the entry as a pool file holds it, without the notes."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"origin", "quantisation"})

    def place(self) -> dict[str, Any]:
        """Return what decides the model's replies: its name and where it is found."""
        return {key: value for key, value in self.plain().items() if key in DECISIVE}


class AgentEntry(PoolEntry):
    """The trained agent of a pool's model: weights of its own in a folder, under the model's name."""

    checkpoint: str

    @property
    def key(self) -> str:
        """What tells the agent from its model, and from the model's other agents."""
        return f"{self.checkpoint}/{self.model}"


class _File(Record):
    cost_rule: _Name
    models: Annotated[tuple[PoolEntry, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Pool:
    """The entries of a pool file, cheapest first, and the rule that their costs come from."""

    entries: tuple[PoolEntry, ...]
    cost_rule: str

    @property
    def models(self) -> ModelPool:
        """The pool as routers see it, in the same order as `entries`."""
        return ModelPool([entry.record() for entry in self.entries])


def load_pool(path: Path) -> Pool:
    """Read a pool file; raises `InputError` that names the file, the entry and the key that is wrong."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the pool {path}: {error.strerror}; pass a YAML file, as tasks/pools/*.yaml"
        ) from None
    if len(raw) > _MODEL_FILE_LIMIT:
        raise InputError(f"{path} has {len(raw):,} bytes; a pool file is a short YAML list of models")
    try:
        content = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())[:160]})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} wants the keys cost_rule and models, but holds {type(content).__name__}")
    try:
        file = _File.model_validate(content)
        ModelPool([entry.record() for entry in file.models])
    except ValidationError as error:
        raise InputError(f"{path}: {_complaint(error, content)}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Pool(tuple(sorted(file.models, key=lambda entry: entry.record().order)), file.cost_rule)


def _complaint(error: ValidationError, content: dict[str, Any]) -> str:
    """Return the first thing that is wrong: the entry by its name where it has one, the key, the value, the reason."""
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    if len(where) > 1 and where[0] == "models":
        entry = content["models"][int(where[1])]
        name = entry.get("model") if isinstance(entry, dict) else None
        where[:2] = [f"model {name!r}" if name else f"model number {int(where[1]) + 1}"]
    given = "" if first["type"] in ("missing", "value_error") else f" (given: {str(first['input'])[:80]!r})"
    return f"{', '.join(where) or 'the file'}: {first['msg'].removeprefix('Value error, ')}{given}"


def agent_entries(pool: Pool, agents: Path) -> list[AgentEntry]:
    """Return the trained agents in the folder `agents`, as `<checkpoint>/<model>` each, of all models but the last.

    Raises `InputError` where there is none, and where one is a checkpoint of another model than its folder says.
    """
    found = []
    for entry in pool.entries[:-1]:
        for checkpoint in TRAINED:
            folder = agents / checkpoint / entry.model
            if folder.is_dir():
                refuse_other(folder, entry.model, folder_of(entry))
                place = {"folder": str(folder.resolve()), "hub": None, "server": None}
                found.append(AgentEntry(**(entry.model_dump() | place), checkpoint=checkpoint))
    if not found:
        places = ", ".join(f"{c}/{entry.model}" for c in TRAINED for entry in pool.entries[:-1])
        raise InputError(f"{agents} holds no agent of this pool; looked for: {places}")
    return found


def resolve(entry: PoolEntry, engine: str) -> str:
    """Return what `engine` is to load or ask: a folder, a hub id, or the server's name of the model.

    A folder that exists wins over the hub id; a relative one is looked for under `$DISROUTER_MODELS`, then as it
    stands. Raises `InputError` where the entry names no place that the engine can use.
    """
    if one_of("engine", engine, ENGINES) == "openai":
        if entry.server is None:
            raise InputError(f"model {entry.model} has no server, which engine openai asks; add server: {{url, model}}")
        return entry.server.model
    places = _folders(entry)
    if folder := folder_of(entry):
        return str(folder)
    if entry.hub is not None:
        return entry.hub
    if not places:
        raise InputError(f"model {entry.model} has only a server; use engine openai, or add a folder or a hub id")
    looked = " or ".join(str(place) for place in places)
    raise InputError(f"model {entry.model}: no folder {looked}; set ${MODELS_VARIABLE}, or add a hub id to the pool")


def folder_of(entry: PoolEntry) -> Path | None:
    """Return the model's folder on this machine; None where it has none here."""
    return next((place for place in _folders(entry) if place.is_dir()), None)


def _folders(entry: PoolEntry) -> list[Path]:
    return [] if entry.folder is None else folders(entry.folder)


class Engines:
    """The loaded models of one engine: at most `limit` at a time, the one asked longest ago closed first.

    `start` loads the model of an entry. Use it as a context: leaving it closes every model.
    """

    def __init__(self, start: Callable[[PoolEntry], Engine], limit: int = 1) -> None:
        self._start, self._limit = start, limit
        self._loaded: dict[str, Engine] = {}

    def of(self, entry: PoolEntry) -> Engine:
        """Return the engine of one model, loaded where it is not."""
        engine = self._loaded.pop(entry.key, None)
        if engine is None:
            while len(self._loaded) >= self._limit:
                self._loaded.pop(next(iter(self._loaded))).close()
            engine = self._start(entry)
        self._loaded[entry.key] = engine
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()


def open_engine(name: str, entry: PoolEntry, **options: Any) -> Engine:
    """Load the model of `entry` into the engine called `name`; `options` go to the engine's constructor.

    Raises `InputError` where the model cannot be had, or a package is missing.
    """
    place = resolve(entry, name)
    if name == "openai" and entry.server is not None:
        options = {"url": entry.server.url, "key_env": entry.server.key_env} | options
    module, _, engine = ENGINES[name].partition(":")
    try:
        opened: Engine = getattr(importlib.import_module(module), engine)(place, **options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"engine {name} needs the package {error.name}: pip install 'disrouter-bench[live]' "
            "(vLLM on a CPU: make setup-live)"
        ) from None
    return opened
