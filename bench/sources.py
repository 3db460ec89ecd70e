"""Files from others, opened by what they hold: Parquet, CSV, JSON or JSON lines, plain or gzip'd; never a pickle."""

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tasks.errors import InputError, examples

PICKLE_NAMES = {".pkl", ".pickle", ".pck", ".joblib", ".pt"}
# Protocols 2 to 5 begin with a mark; the older ones begin with a global, or with a tuple, list or dict and its memo.
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n\w+\n|\([ldt]p|[\]}]q")
_PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_null,
)
# pandas writes its row numbers under these names; they say nothing about a query.
_ROW_NUMBER = re.compile(r"|Unnamed: 0|__index_level_\d+__")
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """One file of a call: its bytes (unzipped), the sha256 of the file as it lies there, and the model it is of."""

    path: Path
    data: bytes
    sha256: str
    model: str | None = None

    @property
    def stem(self) -> str:
        """The name of the file without the endings that name its format."""
        return re.sub(r"(\.(csv|parquet|jsonl?|gz))+$", "", self.path.name, flags=re.IGNORECASE)

    @property
    def split(self) -> str | None:
        """The part that the file's name speaks of (`train`, `validation`, `test`); None where it names none or two."""
        named = {*re.split(r"[^a-z0-9]+", self.stem.lower())} & set(_PARTS)
        return named.pop() if len(named) == 1 else None

    @cached_property
    def content(self) -> Any:
        """A DataFrame from Parquet or CSV, a list from a JSON list or JSON lines, a dict from one JSON object."""
        if self.data.startswith(b"PAR1"):
            return _parquet(self.path, self.data)
        if ".parquet" in self.path.suffixes:
            raise InputError(f"{self.path} does not begin as Parquet does; it may be truncated or another format")
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is neither Parquet nor text in UTF-8 (CSV, JSON), plain or gzip'd") from None
        if not text.strip():
            raise InputError(f"{self.path} is empty")
        return parse_json(self.path, text) if text.lstrip()[0] in "[{" else _csv(self.path, text)

    def table(self, required: Sequence[str]) -> pd.DataFrame:
        """Return the content as a table with the columns `required`; raises `InputError` naming what it lacks."""
        if not isinstance(self.content, pd.DataFrame):
            raise InputError(f"{self.path} holds JSON, but this format wants a table (CSV or Parquet)")
        lacking = [name for name in required if name not in self.content]
        if lacking:
            raise InputError(
                f"{self.path} has no column {examples(lacking)} (wanted: {', '.join(required)}; "
                f"there are: {examples(self.content.columns, 8)})"
            )
        if self.content.empty:
            raise InputError(f"{self.path} has columns but no row")
        return self.content

    def records(self, required: Sequence[str]) -> list[dict[str, Any]]:
        """Return the content as JSON objects that all have the keys `required`; raises `InputError` for the first."""
        if isinstance(self.content, pd.DataFrame):
            raise InputError(f"{self.path} holds a table, but this format wants JSON")
        records: list[Any] = self.content if isinstance(self.content, list) else [self.content]
        for number, record in enumerate(records):
            if not isinstance(record, dict) or not set(required) <= record.keys():
                raise InputError(f"{self.path}: record {number} is no object with {', '.join(required)}")
        if not records:
            raise InputError(f"{self.path} holds no record")
        return records


def open_source(argument: str) -> Source:
    """Read the file of one argument, FILE or MODEL=FILE; raises `InputError` for pickles and unreadable files."""
    path, model = Path(argument), None
    if "=" in argument and not path.exists():
        model, _, rest = argument.partition("=")
        path = Path(rest)
    raw = read_bytes(path)
    return Source(path, _unzipped(path, raw), hashlib.sha256(raw).hexdigest(), model)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises `InputError` where it cannot be read or is a pickle by its name or content."""
    if PICKLE_NAMES & {suffix.lower() for suffix in path.suffixes}:
        raise _pickle(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if _PICKLE.match(raw):
        raise _pickle(path)
    return raw


def _unzipped(path: Path, raw: bytes) -> bytes:
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        data = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is gzip'd, but damaged or truncated ({error})") from None
    if _PICKLE.match(data):
        raise _pickle(path)
    return data


def _pickle(path: Path) -> InputError:
    return InputError(
        f"{path} is a pickle, and loading a pickle runs whatever code it holds; "
        "convert it to CSV or Parquet in an environment you trust, and pass that file"
    )


def _parquet(path: Path, data: bytes) -> pd.DataFrame:
    try:
        return _without_row_numbers(_plain(path, pq.read_table(pa.BufferReader(data))).to_pandas())
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as Parquet; it may be truncated ({reason})") from None


def _plain(path: Path, table: pa.Table) -> pa.Table:
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{path} names a column twice: {examples(_twice(table.column_names))}")
    columns = {}
    for name in table.column_names:
        kind = table[name].type
        column = table[name].cast(kind.value_type) if pa.types.is_dictionary(kind) else table[name]
        if not any(is_plain(column.type) for is_plain in _PLAIN):
            raise InputError(f"{path}: column {name} holds {column.type}, but text, numbers or true/false are wanted")
        columns[name] = column
    return pa.table(columns)


def _csv(path: Path, text: str) -> pd.DataFrame:
    """Return every column as text: what is a number and what an empty answer, the reader of the format knows."""
    try:
        header = next(csv.reader(io.StringIO(text)))
        if len(set(header)) < len(header):
            raise InputError(f"{path} names a column twice: {examples(_twice(header))}")
        data = text.encode()
        as_text = dict.fromkeys(header, pa.string())
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(block_size=len(data) + 1),  # one block, so that a long text straddles none
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(column_types=as_text, strings_can_be_null=False),
        )
    except (csv.Error, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as CSV: {str(error)[:200]}") from None
    return _without_row_numbers(table.to_pandas())


def _without_row_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[name for name in frame.columns if not _ROW_NUMBER.fullmatch(name)]]


def parse_json(path: Path, text: str) -> Any:
    """Return the content of a JSON document or of JSON lines (a list); raises `InputError` naming line and fault."""
    try:
        return _parsed(text)
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        try:
            number = 1
            return [_parsed(line) for number, line in lines]
        except json.JSONDecodeError as error:
            # A file that fails in its first line is one JSON document, not JSON lines.
            where = f"line {number}: {error.msg}" if number > 1 else f"line {whole.lineno}: {whole.msg}"
            raise InputError(f"{path} is damaged or truncated JSON ({where})") from None
        except InputError as error:
            raise InputError(f"{path}: line {number}: {error}") from None
    except RecursionError:
        raise InputError(f"{path} nests its JSON deeper than any outcomes do") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parsed(text: str) -> Any:
    content = json.loads(text, object_pairs_hook=_unique)
    if "\\ud" not in text.lower():
        return content
    # JSON can hold half a surrogate pair, where an answer was cut off; UTF-8 cannot, so it becomes a question mark.
    return json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError(f"key {examples(_twice([key for key, _ in pairs]))} stands twice in one object")
    return found


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
