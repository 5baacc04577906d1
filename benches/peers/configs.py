"""The five configurations, made equal: what is asked of one is asked of all.

One worker; keep-alive to the upstreams, enough of it for every workload; X-Forwarded-For, -Proto and -Host; no access
log; TLS 1.3 with one certificate, HTTP/1.1 and HTTP/2 by ALPN; three upstreams by path (`/`, `/sink`, `/ws`). Each is set
up as its makers advise for speed. pointsman alone has more to do: two groups that share the traffic by the hash of a
cookie, health checks, metrics.

Every function takes `Asked` and gives the text of a file. Starting is `subjects`' business.
"""
import dataclasses
import json
import os

POOL = 2048  # idle upstream connections that may be kept: more than any workload has clients
IDLE = 75    # seconds that an idle client may stay


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a configuration is made from: where to listen, what is behind, where files may be kept."""
    plain: int
    tls: int
    other: int       # the same in a second way, for the peers that have one (see `nginx`, `haproxy`)
    third: int       # and in a third
    admin: int
    small: int
    sink: int
    chat: int
    directory: str
    cert: str
    key: str
    both: str        # certificate and key in one file


def pointsman(asked):
    """Everything on: two groups with shares and the cohort hash, health checks, metrics."""
    service = """  {name}:
    groups: {{ blue: {{ upstreams: ["http://127.0.0.1:{port}"] }}, green: {{ upstreams: ["http://127.0.0.1:{port}"] }} }}
    split: {{ blue: 90, green: 10 }}
    affinity: {{ cookie: pointsman }}
    health: {{ kind: http, path: /health, interval: 5s }}
"""
    services = "".join(service.format(name=name, port=port)
                       for name, port in (("shop", asked.small), ("sink", asked.sink), ("chat", asked.chat)))
    return f"""admin: {{ listen: 127.0.0.1:{asked.admin} }}
state: {{ path: "{asked.directory}/state.db" }}
workers: 1
listeners:
  web: {{ bind: "127.0.0.1:{asked.plain}" }}
  secure: {{ bind: "127.0.0.1:{asked.tls}", tls: {{ certificates: [ {{ cert: "{asked.cert}", key: "{asked.key}" }} ] }} }}
services:
{services}routes:
  - {{ match: {{ path: /ws }}, service: chat }}
  - {{ match: {{ path: /sink }}, service: sink }}
  - {{ match: {{ path: / }}, service: shop }}
telemetry: {{ log: warn, access_log: off }}
"""


def nginx(asked):
    """`other` is the same with `proxy_buffering off`, `third` with buffers made for large bodies."""
    def behind(name, port):
        return f"upstream {name} {{ server 127.0.0.1:{port}; keepalive {POOL}; keepalive_requests 1000000000; keepalive_time 1d; }}"

    fields = """proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;"""
    locations = f"""location / {{ proxy_pass http://small; }}
    location /sink {{ proxy_pass http://sink; }}
    location /ws {{ proxy_pass http://chat; proxy_read_timeout 1h; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade; {fields} }}"""
    temporary = " ".join(f"{kind}_temp_path {asked.directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""  # so that it may write its temporary files there
    return f"""daemon off; {user} worker_processes 1; worker_rlimit_nofile 20000;
pid {asked.directory}/pid; error_log {asked.directory}/log;
events {{ worker_connections 16384; }}
http {{
  access_log off; {temporary}
  keepalive_requests 1000000000; keepalive_time 1d; keepalive_timeout {IDLE}s; client_max_body_size 0;
  proxy_http_version 1.1; proxy_set_header Connection ""; {fields}
  proxy_request_buffering off;
  {behind("small", asked.small)} {behind("sink", asked.sink)} {behind("chat", asked.chat)}
  ssl_certificate {asked.cert}; ssl_certificate_key {asked.key}; ssl_protocols TLSv1.3;
  server {{
    listen 127.0.0.1:{asked.plain} backlog=4096; listen 127.0.0.1:{asked.tls} ssl http2 backlog=4096;
    {locations}
  }}
  server {{ listen 127.0.0.1:{asked.other} backlog=4096; proxy_buffering off; {locations} }}
  server {{
    listen 127.0.0.1:{asked.third} backlog=4096;
    proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0; client_body_buffer_size 64k;
    {locations}
  }}
}}
"""


def haproxy(asked, buffers=""):
    """`other` is the same with `option splice-auto`. Its buffers have one size in the whole process."""
    fields = """  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  use_backend sink if { path_beg /sink }
  use_backend chat if { path_beg /ws }
  default_backend small"""
    backends = "".join(f"backend {name}\n  server {name} 127.0.0.1:{port}\n"
                       for name, port in (("small", asked.small), ("sink", asked.sink), ("chat", asked.chat)))
    return f"""global
  nbthread 1
  maxconn 6000{buffers}
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client {IDLE}s
  timeout server 60s
  timeout http-keep-alive {IDLE}s
  timeout tunnel 1h
  option forwardfor
  http-reuse always
frontend web
  bind 127.0.0.1:{asked.plain} backlog 4096
  bind 127.0.0.1:{asked.tls} backlog 4096 ssl crt {asked.both} alpn h2,http/1.1
{fields}
frontend other
  option splice-auto
  bind 127.0.0.1:{asked.other} backlog 4096
{fields}
{backends}"""


def haproxy_tuned(asked):
    """With buffers made for large bodies."""
    return haproxy(asked, "\n  tune.bufsize 65536")


def caddy(asked):
    """A Caddyfile. Its forwarded fields are on by default; compression towards the upstream is not, elsewhere."""
    def to(matcher, port):
        return f"""  reverse_proxy {matcher} 127.0.0.1:{port} {{
    transport http {{
      versions 1.1
      compression off
      keepalive 1h
      keepalive_idle_conns {2 * POOL}
      keepalive_idle_conns_per_host {POOL}
    }}
  }}
"""

    proxies = to("/sink*", asked.sink) + to("/ws*", asked.chat) + to("", asked.small)
    return f"""{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
  servers {{
    protocols h1 h2
  }}
}}
http://:{asked.plain} {{
  bind 127.0.0.1
{proxies}}}
https://:{asked.tls} {{
  bind 127.0.0.1
  tls {asked.cert} {asked.key} {{
    protocols tls1.3
  }}
{proxies}}}
"""


def envoy(asked):
    """Static JSON, by Envoy's own advice for benchmarks: no request ids, no dynamic statistics, open circuits."""
    most = 1_000_000_000
    open_circuit = {"thresholds": [{"priority": "DEFAULT", "max_connections": most, "max_pending_requests": most,
                                    "max_requests": most, "max_retries": most}]}

    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def cluster(name, port):
        endpoint = {"endpoint": {"address": address(port)}}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": open_circuit,
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}

    def route(prefix, name):
        return {"match": {"prefix": prefix}, "route": {"cluster": name, "timeout": "60s"}}

    extension = "type.googleapis.com/envoy.extensions."
    router = {"@type": extension + "filters.http.router.v3.Router", "dynamic_stats": False, "suppress_envoy_headers": True}
    routes = [{"match": {"prefix": "/ws"}, "route": {"cluster": "chat", "timeout": "0s"}}, route("/sink", "sink"), route("/", "small")]
    manager = {
        "@type": extension + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web", "codec_type": "AUTO", "use_remote_address": True, "generate_request_id": False,
        "common_http_protocol_options": {"idle_timeout": f"{IDLE}s"}, "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": routes,
            "request_headers_to_add": [{"header": {"key": "x-forwarded-host", "value": "%REQ(:authority)%"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    secured = {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": extension + "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": asked.cert}, "private_key": {"filename": asked.key}}]}}}

    def listener(name, port, **more):
        return {"name": name, "address": address(port), "tcp_backlog_size": 4096, "filter_chains": [{"filters": filters, **more}]}

    return json.dumps({"static_resources": {
        "listeners": [listener("web", asked.plain), listener("secure", asked.tls, transport_socket=secured)],
        "clusters": [cluster("small", asked.small), cluster("sink", asked.sink), cluster("chat", asked.chat)]}})
