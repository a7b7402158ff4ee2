"""LitServe around the same engine, with its batching: python litserve_app.py PORT WORKERS ROWS."""

from __future__ import annotations

import sys

import litserve


class Summaries(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002  LitServe gives it
        import textmill

        threads = 2 if WORKERS == 1 else 1
        self.model = textmill.load("demo", threads=threads)

    def decode_request(self, request: dict) -> dict:
        return request

    def predict(self, asked: list[dict]) -> list[str]:
        limit = asked[0]["max_new_tokens"]
        return self.model.generate([one["text_inputs"] for one in asked], max_new_tokens=limit)

    def encode_response(self, text: str) -> dict:
        return {"generated_texts": [text]}


PORT, WORKERS, ROWS = map(int, sys.argv[1:])

if __name__ == "__main__":
    api = Summaries(max_batch_size=ROWS, batch_timeout=0.005, api_path="/invocations")
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=WORKERS, timeout=60
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="error")
