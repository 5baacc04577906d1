#!/usr/bin/env python3
"""A gRPC client of another maker: one call of each kind through TARGET, checked; prints one line of JSON.

{"ok": true, "group": …, "health": "SERVING", "unary": bytes echoed, "stream": messages, "bidi": messages,
 "code": of the failing call, "details": its text, "trailers": {…}, "error": null}. Exit code 1 unless all went well.
"""
import argparse
import json
import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEADLINE = 20


def calls(channel, authority_metadata, result):
    def generic(kind, name):
        return kind(f"/test.Echo/{name}")

    sent = os.urandom(100_000)
    answer, call = generic(channel.unary_unary, "Unary").with_call(sent, timeout=DEADLINE, metadata=authority_metadata)
    assert answer == sent, "the unary echo differs"
    result["unary"] = len(answer)
    result["group"] = dict(call.initial_metadata()).get("x-upstream")
    result["trailers"] = dict(call.trailing_metadata())
    stream = generic(channel.unary_stream, "ServerStream")
    messages = list(stream(b"again", timeout=DEADLINE, metadata=[*authority_metadata, ("x-times", "50")]))
    assert messages == [b"again"] * 50, "the stream differs"
    result["stream"] = len(messages)
    parts = [os.urandom(size) for size in (0, 1, 1000, 70_000)] * 5
    messages = list(generic(channel.stream_stream, "Bidi")(iter(parts), timeout=DEADLINE, metadata=authority_metadata))
    assert messages == parts, "the bidirectional stream differs"
    result["bidi"] = len(messages)
    try:
        fail = generic(channel.unary_unary, "Fail")
        fail(b"", timeout=DEADLINE, metadata=[*authority_metadata, ("x-code", "FAILED_PRECONDITION")])
        raise AssertionError("the failing call succeeded")
    except grpc.RpcError as error:
        result["code"], result["details"] = error.code().name, error.details()
    assert result["code"] == "FAILED_PRECONDITION", result["code"]
    stub = health_pb2_grpc.HealthStub(channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=DEADLINE, metadata=authority_metadata).status
    result["health"] = health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--metadata", action="append", default=[], help="name: value")
    parser.add_argument("--ca", help="PEM file: speak TLS and trust this authority")
    parser.add_argument("--authority", help="the name to ask for")
    options = parser.parse_args()
    metadata = [tuple(part.strip() for part in text.split(":", 1)) for text in options.metadata]
    settings = [("grpc.enable_http_proxy", 0)]
    if options.authority:
        settings.append(("grpc.default_authority", options.authority))
    result = {"ok": False, "error": None}
    try:
        if options.ca:
            with open(options.ca, "rb") as file:
                channel = grpc.secure_channel(options.target, grpc.ssl_channel_credentials(file.read()), settings)
        else:
            channel = grpc.insecure_channel(options.target, settings)
        with channel:
            calls(channel, metadata, result)
        result["ok"] = True
    except grpc.RpcError as error:
        result["error"] = f"{error.code().name}: {error.details()}"
        result["code"] = error.code().name
    except (AssertionError, OSError) as error:
        result["error"] = str(error)
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["ok"] else 1)


main()
