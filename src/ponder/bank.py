"""The bank: every model sample ever paid for, in one SQLite file.

The key of a sample is the model's hash, the prompt tokens, the sampling law, the grammar if there
is one, and the stream key (seed, question, particle, address, visit), so that nothing is paid
twice, a killed run resumes, and methods are compared on the same samples, while another seed is
another sample.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ponder.errors import PonderError, Unavailable
from ponder.lm.protocol import (
    Completion,
    Draw,
    ModelDist,
    NextToken,
    OptionLogProbs,
    drawn,
)
from ponder.lm.sampling_law import SamplingLaw
from ponder.outside import Outside

VERSION = 1
_SCHEMA = """
CREATE TABLE sample (
    key BLOB PRIMARY KEY, model TEXT NOT NULL, question TEXT NOT NULL, address TEXT NOT NULL,
    kind TEXT NOT NULL, value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE fact (model TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (model, name)) WITHOUT ROWID;
"""
_RECORDING = """
CREATE TABLE IF NOT EXISTS recording (model TEXT NOT NULL, question TEXT NOT NULL,
    recipe TEXT NOT NULL, draw INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (model, question, recipe, draw)) WITHOUT ROWID
"""


class Bank:
    """Samples and model facts in ``path``; several processes may share it.

    Raises PonderError if the file is not a bank, is of a newer version, or cannot be opened.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise PonderError(f"there is no bank at {self.path}; run once without --replay first")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise PonderError(
                f"cannot use the bank {self.path} ({error}); use another --bank, or --no-bank"
            ) from None

    def _open(self) -> None:
        version = self._version()
        if version > VERSION:
            raise PonderError(
                f"the bank {self.path} has version {version}, this ponder reads up to {VERSION}; "
                "upgrade ponder or choose another with --bank"
            )
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if tables and not {"sample", "fact"} <= tables:
            raise PonderError(
                f"{self.path} is another program's database; use another --bank, or --no-bank"
            )
        self._to_wal()
        self._db.execute("PRAGMA synchronous=NORMAL")
        if version == 0:
            self._db.execute("BEGIN IMMEDIATE")  # another process may be creating it too
            if self._version() == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
            self._db.execute("COMMIT")

    def _to_wal(self) -> None:
        """Turn on write-ahead logging; SQLite's own timeout does not wait for it (SQLITE_BUSY)."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def get(self, key: bytes, dist: ModelDist | Outside) -> Any | None:
        """The value sampled from ``dist`` under ``key``, or None."""
        row = self._db.execute("SELECT kind, value FROM sample WHERE key = ?", (key,)).fetchone()
        return None if row is None else _decoded(row[0], row[1], dist)

    def put(self, rows: Sequence[tuple[bytes, str, str, str, Any]]) -> None:
        """Keep samples: (key, model, question, address, value). One transaction, durable.

        A sample that is there already stays as it is. Raises PonderError if the disk is full.
        """
        encoded = [(key, model, q, a, *_encoded(value)) for key, model, q, a, value in rows]
        self._insert("INSERT OR IGNORE INTO sample VALUES (?,?,?,?,?,?)", encoded)

    def record(self, model: str, rows: Sequence[tuple[str, str, int, Any]]) -> None:
        """Keep what another program has sampled: (question, recipe, draw, value for JSON).

        What is there already stays as it is. Raises PonderError if the disk is full.
        """
        encoded = [(model, q, r, n, json.dumps(v, ensure_ascii=False)) for q, r, n, v in rows]
        self._insert("INSERT OR IGNORE INTO recording VALUES (?,?,?,?,?)", encoded, _RECORDING)

    def recordings(self, model: str | None = None) -> list[tuple[str, str, int, Any]]:
        """What :meth:`record` kept, in order; of one model, if it is named."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='recording'").fetchone():
            return []
        query = (
            "SELECT question, recipe, draw, value FROM recording WHERE ? IS NULL OR model = ? "
            "ORDER BY question, recipe, draw"
        )
        rows = self._db.execute(query, (model, model)).fetchall()
        return [(question, recipe, draw, json.loads(v)) for question, recipe, draw, v in rows]

    def recorded_model(self) -> str | None:
        """The model whose samples were recorded, or None. Raises PonderError if they are two."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='recording'").fetchone():
            return None
        names = [name for (name,) in self._db.execute("SELECT DISTINCT model FROM recording")]
        if len(names) > 1:
            raise PonderError(
                f"the bank {self.path} has recordings of {', '.join(sorted(names))}; "
                "say which with --model"
            )
        return names[0] if names else None

    def _insert(self, statement: str, rows: Sequence[Any], before: str | None = None) -> None:
        """One transaction, all or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if before is not None:
                self._db.execute(before)
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Unavailable(
                f"cannot write to the bank {self.path} ({error}); free some disk, or --no-bank"
            ) from None

    def fact(self, model: str, name: str) -> Any | None:
        """Something remembered of a model (its tokens for a text), so that replay needs none."""
        query = "SELECT value FROM fact WHERE model = ? AND name = ?"
        row = self._db.execute(query, (model, name)).fetchone()
        return None if row is None else json.loads(row[0])

    def remember(self, model: str, name: str, value: Any) -> None:
        """Remember a fact of a model."""
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO fact VALUES (?,?,?)", (model, name, json.dumps(value))
            )
        except sqlite3.Error as error:
            raise Unavailable(
                f"cannot write to the bank {self.path} ({error}); free some disk, or --no-bank"
            ) from None

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM sample").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def sample_key(dist: ModelDist | Outside, stream_key: bytes) -> bytes:
    """The bank key of a draw from ``dist`` with the randomness of ``stream_key``, 32 bytes."""
    if isinstance(dist, Outside):
        return dist.key
    parts: list[Any] = [dist.model.fingerprint, list(dist.prompt)]
    if isinstance(dist, OptionLogProbs):
        # No randomness: whoever asks the same question of the same trace gets the same answer.
        parts += ["options", [list(g) for g in dist.groups]]
        stream_key = b""
    else:
        parts += ["token" if isinstance(dist, NextToken) else "completion", _law(dist.law)]
        if isinstance(dist, Completion):
            parts += [dist.max_tokens, list(dist.stop), dist.segment]
            if dist.grammar is not None:
                parts.append(dist.grammar.key)
    return sha256(json.dumps(parts).encode() + stream_key).digest()


def _law(law: SamplingLaw) -> list[float]:
    # As floats, so that laws that are equal have equal keys: 1 and 1.0 are written differently.
    return [float(law.temperature), law.top_k, float(law.top_p), float(law.min_p)]


def _encoded(value: Any) -> tuple[str, str]:
    if isinstance(value, Draw):
        fields: list[Any] = [list(value.tokens), value.text, value.finish]
        fields += [list(value.logp), list(value.logq)]
        if value.grammar is not None:
            fields.append(value.log_evidence)
        return "draw", json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, int):
        return "token", str(value)
    if isinstance(value, dict):
        return "outside", json.dumps(value)
    return "options", json.dumps(list(value))


def _decoded(kind: str, text: str, dist: ModelDist | Outside) -> Any:
    value = json.loads(text)
    if kind == "draw" and isinstance(dist, Completion):
        return drawn(dist, *value)
    return tuple(value) if kind == "options" else value
