#!/usr/bin/env python3
"""A gRPC server of another maker: the standard health service, and an echo service without protobuf.

/test.Echo/Unary, /ServerStream (the message, as often as metadata x-times says), /Bidi, /Fail (aborts with the code
named in metadata x-code), all on plain bytes. Initial metadata x-upstream and trailing metadata x-trailer name the
group. Prints {"port": N} once it listens. SIGTERM ends it; SIGUSR1 makes it NOT_SERVING, SIGUSR2 SERVING again.
"""
import argparse
import json
import signal
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def metadata(context, key, default):
    return dict(context.invocation_metadata()).get(key, default)


def service(group):
    def named(context):
        context.send_initial_metadata((("x-upstream", group),))
        context.set_trailing_metadata((("x-trailer", group),))

    def unary(request, context):
        named(context)
        return request

    def server_stream(request, context):
        named(context)
        for _ in range(int(metadata(context, "x-times", "3"))):
            yield request

    def bidi(requests, context):
        named(context)
        yield from requests

    def fail(_request, context):
        context.set_trailing_metadata((("x-trailer", group),))
        context.abort(grpc.StatusCode[metadata(context, "x-code", "INTERNAL")], "as asked")

    return grpc.method_handlers_generic_handler("test.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    })


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--group", default="")
    arguments = arguments.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((service(arguments.group),))
    state = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    statuses = health_pb2.HealthCheckResponse
    names = ("", "test.Echo")

    def set_health(status):
        for name in names:
            state.set(name, status)

    # Set from a thread of its own: a signal handler must not wait for the servicer's lock.
    def later(status):
        threading.Thread(target=set_health, args=(status,)).start()

    set_health(statuses.SERVING)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: later(statuses.NOT_SERVING))
    signal.signal(signal.SIGUSR2, lambda *_: later(statuses.SERVING))
    port = server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    server.start()
    print(json.dumps({"port": port}), flush=True)
    stop.wait()
    server.stop(grace=1).wait()


main()
