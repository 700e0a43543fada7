"""Where WebAssembly may be compiled: on the page that analyses a scan and in its worker, and nowhere else."""

from wsgiref.headers import Headers

WASM = "'wasm-unsafe-eval'"
# A worker does not inherit the page's policy: it has the one that its own file came with.
WORKER_PATH = "/static/js/analyse/worker.js"
WORKER_POLICY = f"default-src 'none'; script-src 'self' {WASM}; connect-src 'self'"


def add_headers(headers: Headers, path: str, url: str) -> None:  # noqa: ARG001 - WhiteNoise's signature
    """Give the worker's file its policy; all other static files get the site's."""
    if url == WORKER_PATH:
        headers["Content-Security-Policy"] = WORKER_POLICY
