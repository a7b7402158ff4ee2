"""A model hub on the loopback, small but speaking what huggingface_hub asks of a real one.

    GET  /api/models/ORG/NAME/revision/REV     commit and file names; /api/datasets/… likewise
    HEAD /ORG/NAME/resolve/REV/FILE            size, ETag, commit; a redirect for large files
    GET  /ORG/NAME/resolve/REV/FILE            bytes, with ranges
    GET  /blob/SHA256                          what a large file's redirect leads to

Data sets are repositories whose name begins with `datasets/`, here as in the hub's addresses.
It can also misbehave: cut a transfer, hold it, change bytes, want a token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def commit_of(files: dict[str, bytes]) -> str:
    listing = "\n".join(f"{name} {sha256(data)}" for name, data in sorted(files.items()))
    return hashlib.sha1(listing.encode()).hexdigest()


@dataclass
class Repo:
    """Commits by hash, and what branches and tags mean."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    token: str | None = None

    def push(self, files: dict[str, bytes], ref: str = "main") -> str:
        commit = commit_of(files)
        self.commits[commit] = dict(files)
        self.refs[ref] = commit
        return commit


@dataclass(frozen=True)
class Seen:
    """One request that arrived; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def file(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass
class HubServer:
    """State that tests set and read while the server runs."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    cut_once: dict[str, int] = field(default_factory=dict)
    """File → send so many bytes, then drop the connection; for one GET."""
    hold_after: dict[str, int] = field(default_factory=dict)
    """File → send so many bytes, then wait for `go_on`."""
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    tampered: set[str] = field(default_factory=set)
    """Files that are sent with one bit changed."""
    cdn: str | None = None
    """Where large files are redirected to; None serves them here."""
    api_redirect: str | None = None
    """Send API calls to another host."""
    status: int | None = None
    """Answer every request with this status."""
    blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, files: dict[str, bytes], **options: object) -> str:
        repo = self.repos.setdefault(name, Repo())
        for key, value in options.items():
            setattr(repo, key, value)
        return repo.push(files)

    def gets(self, file: str) -> list[Seen]:
        return [s for s in self.seen if s.method == "GET" and s.file == file]

    def downloads(self) -> set[str]:
        """Names of all files of which bytes were asked."""
        return {s.file for s in self.seen if s.method == "GET" and "/resolve/" in s.path}


@contextmanager
def running() -> Iterator[HubServer]:
    state = HubServer()

    class Handler(_Handler):
        hub = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


RESOLVE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
API = re.compile(r"/api/(?:models/|(?=datasets/))((?:datasets/)?[^/]+/[^/]+)/revision/([^/]+)")
LARGE = re.compile(r".*\.(safetensors|bin|h5|msgpack|spm|model|parquet)")


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.seen.append(
            Seen(self.command, unquote(path), {k.lower(): v for k, v in self.headers.items()})
        )
        if self.hub.status is not None:
            self._refuse(self.hub.status, None)
        elif found := API.fullmatch(path):
            self._api(found[1], unquote(found[2]))
        elif found := RESOLVE.fullmatch(path):
            self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        elif path.startswith("/blob/"):
            self._send(self.hub.blobs[path.removeprefix("/blob/")], "blob")
        else:
            self._refuse(404, "RepoNotFound")

    def _commit(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and commit, or None after having refused."""
        repo = self.hub.repos.get(name)
        bearer = self.headers.get("Authorization", "")
        if repo is None:
            self._refuse(404 if bearer else 401, "RepoNotFound")
        elif repo.gated:
            self._refuse(403 if bearer else 401, "GatedRepo")
        elif repo.token is not None and bearer != f"Bearer {repo.token}":
            self._refuse(401, None)
        elif (commit := repo.refs.get(revision, revision)) not in repo.commits:
            self._refuse(404, "RevisionNotFound")
        else:
            return repo, commit
        return None

    def _api(self, name: str, revision: str) -> None:
        if self.hub.api_redirect is not None:
            self._redirect(self.hub.api_redirect + self.path)
            return
        found = self._commit(name, revision)
        if found is None:
            return
        repo, commit = found
        siblings = [{"rfilename": file} for file in sorted(repo.commits[commit])]
        body = json.dumps(
            {"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings}
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._body(body.encode())

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self._commit(name, revision)
        if found is None:
            return
        repo, commit = found
        content = repo.commits[commit].get(file)
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        if LARGE.fullmatch(file) and self.hub.cdn is not None:
            self._redirect(
                f"{self.hub.cdn}/blob/{sha256(content)}",
                {
                    "X-Repo-Commit": commit,
                    "X-Linked-Etag": f'"{sha256(content)}"',
                    "X-Linked-Size": str(len(content)),
                },
            )
            return
        etag = sha256(content) if LARGE.fullmatch(file) else git_sha1(content)
        self._send(content, file, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _send(self, content: bytes, file: str, headers: dict[str, str] | None = None) -> None:
        if file in self.hub.tampered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted:
            start = int(wanted[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self._body(content[start:], file)

    def _body(self, body: bytes, file: str = "") -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if file in self.hub.cut_once:
            self.wfile.write(body[: self.hub.cut_once.pop(file)])
            self.close_connection = True
        elif file in self.hub.hold_after:
            limit = self.hub.hold_after[file]
            self.wfile.write(body[:limit])
            self.wfile.flush()
            self.hub.held.set()
            self.hub.go_on.wait(timeout=120)
            self._rest(body[limit:])
        else:
            self._rest(body)

    def _rest(self, body: bytes) -> None:
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _redirect(self, target: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self._body(b"")
