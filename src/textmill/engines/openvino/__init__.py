"""The OpenVINO engine: graphs, compiled models, limits. See docs/decisions/openvino-engine.md."""
