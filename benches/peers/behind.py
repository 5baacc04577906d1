"""What stands behind every subject: nginx with a small answer and large files, and our own upstream, all on core 1."""
import contextlib
import pathlib
import sys
import tempfile

from lab import programs
from . import subjects

SIZES = {"1m": 1 << 20, "10m": 10 << 20}


class Behind:
    """Ports of the upstreams."""

    def __init__(self, small, own):
        self.small, self.sink, self.chat = small, own, own


@contextlib.contextmanager
def running():
    """All of it. Files are world-readable: nginx' worker may have another user."""
    with tempfile.TemporaryDirectory(prefix="peers-files-") as directory:
        root = pathlib.Path(directory)
        root.chmod(0o755)
        (root / "bodies").mkdir(mode=0o755)
        for name, size in SIZES.items():
            (root / "bodies" / name).write_bytes(bytes(size))
        server = ("keepalive_requests 1000000000; keepalive_time 1d; keepalive_timeout 1h; default_type text/plain; "
                  f"location /bodies/ {{ root {root}; sendfile on; tcp_nopush on; }} "
                  "location / { return 200 'hello, world\\n'; }")
        port = programs.Port()
        own = [*programs.pinned(subjects.LOAD_CORE), sys.executable, pathlib.Path(__file__).parent / "upstream.py", port.number]
        with programs.nginx(server, core=subjects.LOAD_CORE) as small, programs.process(own) as child:
            programs.eventually("our upstream accepts", lambda: child.poll() is None and programs.accepts(port.number))
            yield Behind(small.port, port.number)
