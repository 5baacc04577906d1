#!/usr/bin/env python3
"""A receiver of webhooks that checks their signatures with Python's own hmac.

Prints {"port": N} once it listens, and one line for each message: how it was answered, whether its signature is right,
its header fields and its body. The first `--fail` messages are answered 503. SIGTERM ends it.
"""
import argparse
import hashlib
import hmac
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--secret", required=True)
    arguments.add_argument("--fail", type=int, default=0)
    arguments = arguments.parse_args()
    lock, heard = threading.Lock(), [0]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            expected = "sha256=" + hmac.new(arguments.secret.encode(), body, hashlib.sha256).hexdigest()
            signatures = [self.headers.get(name, "") for name in ("x-pointsman-signature", "x-hub-signature-256")]
            with lock:
                heard[0] += 1
                status = 503 if heard[0] <= arguments.fail else 204
                print(json.dumps({
                    "status": status,
                    "verified": all(hmac.compare_digest(expected, signature) for signature in signatures),
                    "fields": {name.lower(): value for name, value in self.headers.items()},
                    "body": json.loads(body),
                }), flush=True)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever()


main()
