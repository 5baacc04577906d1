//! Tests: what is said about each kind of mistake, and where.

mod rollouts;
mod services;

use super::{ConfigError, parse};

/// A sound configuration with holes: `@ADMIN` at its top, `@LISTENER` in a listener, `@SERVICE` in a service, `@ROUTE`
/// behind its routes.
const FRAME: &str = "\
@ADMIN
listeners:
  web: { bind: \"127.0.0.1:8080\" @LISTENER }
services:
  shop:
    groups:
      blue: { upstreams: [\"http://127.0.0.1:9001\"] }
      green: { upstreams: [\"http://127.0.0.1:9002\"] }
    @SERVICE
routes:
  - { match: { path: / }, service: shop }
@ROUTE
";

fn check(text: &str) -> Result<(), ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let env = |name: &str| (name == "SET").then(|| "a value".to_owned());
    parse(text, &folder.path().join("f.yaml"), &env).map(|_| ())
}

/// Everything that is said about `text`, without the file's name.
fn said(text: &str) -> Vec<String> {
    let Err(error) = check(text) else { return Vec::new() };
    error.problems.iter().map(|p| format!("{}:{}: {}", p.line, p.col, p.message)).collect()
}

fn filled(hole: &str, with: &str) -> String {
    let text = FRAME.replace(hole, with);
    ["@ADMIN", "@LISTENER", "@SERVICE", "@ROUTE"].iter().fold(text, |text, hole| text.replace(hole, ""))
}

fn each_says(hole: &str, table: &[(&str, &str)]) {
    assert_eq!(said(&filled("", "")), [""; 0]);
    for (with, message) in table {
        assert_eq!(said(&filled(hole, with)), [*message], "{with}");
    }
}

#[test]
fn mistakes_at_the_top_and_in_admin() {
    each_says(
        "@ADMIN",
        &[
            (
                "drain: {}",
                "1:1: the key `drain` is not known here; known here: admin, state, workers, shutdown, resolver, listeners, services, routes, webhooks, telemetry",
            ),
            ("servces: {}", "1:1: the key `servces` is not known here; did you mean `services`?"),
            (
                "admin: []",
                "1:8: `admin`: a list is wrong here; it must be a map with the keys listen, allow, hosts, tls, tokens",
            ),
            ("workers: 0", "1:10: 0 is no number of workers; write 1 to 256"),
            ("workers: 257", "1:10: 257 is no number of workers; write 1 to 256"),
            ("workers: many", "1:10: `workers`: \"many\" is wrong here; it must be a whole number from 0 to 65535"),
            (
                "workers: '2'",
                "1:10: `workers`: \"2\" is a text; it must be a whole number from 0 to 65535, without quotes",
            ),
            (
                "workers: ${UNSET}",
                "1:10: the environment variable UNSET is not set; set it, or write `${UNSET:-default}`",
            ),
            ("shutdown: { timeout: 0s }", "1:22: `timeout` is 0; it must be longer, like 1s"),
            ("shutdown: { timeout: 24h1s }", "1:22: `timeout` is longer than a day; write less"),
            ("shutdown: { lame_duck: 25h }", "1:24: `lame_duck` is longer than a day; write less"),
            (
                "shutdown: { lame_duck: 5 }",
                "1:24: `lame_duck`: \"5\" is not a duration; write it like 250ms, 5s, 10m or 1h",
            ),
            ("shutdown: { grace: 5s }", "1:13: the key `grace` is not known here; known here: lame_duck, timeout"),
            (
                "resolver: { servers: [dns] }",
                "1:23: \"dns\" is not a name server's address; write it like 10.0.0.2 or 127.0.0.1:5353",
            ),
            (
                "resolver: { servers: [] }",
                "1:22: the list is empty; name a server like 10.0.0.2, or remove the key to ask the system's",
            ),
            (
                "admin: { listen: localhost:7070 }",
                "1:18: \"localhost:7070\" is a name, not an address; write 127.0.0.1:7070",
            ),
            (
                "admin: { listen: 7070 }",
                "1:18: \"7070\" is not an address; write it like 127.0.0.1:8080, [::]:8080 or unix:/path",
            ),
            (
                "admin: { listen: 0.0.0.0:7070 }",
                "1:18: 0.0.0.0:7070 is beyond loopback and asks for no credentials; add `tokens` or `tls.client_ca`, or listen on 127.0.0.1",
            ),
            (
                "admin: { allow: [10.0.0.0/33] }",
                "1:18: \"10.0.0.0/33\" is not a network; write it like 10.0.0.0/8, ::1/128 or 127.0.0.1",
            ),
            (
                "admin: { allow: [] }",
                "1:17: the list is empty; name a network that may connect, or remove the key to let all",
            ),
            (
                "admin: { hosts: ['x:80'] }",
                "1:18: \"x:80\" is not a host; write a name without scheme and port, like shop.example.com",
            ),
            (
                "admin: { tokens: [{ name: a, role: admin }] }",
                "1:19: the token itself is missing; add one of env, file, sha256",
            ),
            (
                "admin: { tokens: [{ name: a, role: admin, env: SET, sha256: x }] }",
                "1:19: the token is given more than once; keep one of env, file, sha256",
            ),
            (
                "admin: { tokens: [{ name: a, role: admin, env: UNSET }] }",
                "1:48: the environment variable `UNSET` is not set; put the token in it",
            ),
            (
                "admin: { tokens: [{ name: a, role: admin, sha256: abc }] }",
                "1:51: this is no SHA-256; write 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints",
            ),
            (
                "admin: { tokens: [{ name: a, role: root, env: SET }] }",
                "1:36: `role`: \"root\" is not known; known here: viewer, monitor, operator, admin",
            ),
            (
                "admin: { tokens: [{ name: local, role: admin, env: SET }] }",
                "1:27: `local` is a name that pointsman uses itself in the audit log; choose another name",
            ),
            ("admin: { tokens: [{ role: admin, env: SET }] }", "1:19: `name` is missing; add a name for the audit log"),
            (
                "admin: { tokens: [{ name: a, role: admin, env: SET }, { name: b, role: viewer, env: SET }] }",
                "1:55: another entry has the same token; make one for each",
            ),
            ("state: { path: '' }", "1:16: the path is empty; name a file, it is created when missing"),
            (
                "telemetry: { log: verbose }",
                "1:19: \"verbose\" is no filter; write error, warn, info, debug, trace, or target=level",
            ),
            ("telemetry: { access_log: on }", "1:26: \"on\" is no access log; write off, or { to: stdout }"),
            ("telemetry: { access_log: { format: xml } }", "1:36: `format`: \"xml\" is not known; known here: json"),
            (
                "telemetry: { access_log: { share: 101 } }",
                "1:35: `share`: a share is a percentage from 0 to 100, not 101; write it like 25 or 99.9",
            ),
        ],
    );
}

#[test]
fn mistakes_in_listeners() {
    each_says(
        "@LISTENER",
        &[
            (", bind: \"127.0.0.1:1\"", "3:35: the key `bind` is already in line 3; remove one of them"),
            (", sends_to: candidat", "3:45: `sends_to`: \"candidat\" is not known; did you mean `candidate`?"),
            (
                ", http3: true",
                "3:35: the key `http3` is not known here; known here: bind, tls, sends_to, allow, trusted_proxies, proxy_protocol, max_connections, head_timeout, idle_timeout",
            ),
            (", max_connections: 0", "3:52: `max_connections` is 0; write 1 or more, or remove it to have no limit"),
            (
                ", proxy_protocol: v2",
                "3:51: `proxy_protocol`: \"v2\" is wrong here; it must be true or false, without quotes",
            ),
            (", head_timeout: 0s", "3:49: `head_timeout` is 0; it must be longer, like 1s"),
            (
                ", idle_timeout: 75",
                "3:49: `idle_timeout`: \"75\" is not a duration; write it like 250ms, 5s, 10m or 1h",
            ),
            (
                ", tls: {}",
                "3:40: `certificates` is missing; add a list like [{ cert: certs/dev.crt, key: certs/dev.key }]",
            ),
            (", tls: { certificates: [] }", "3:56: the list is empty; add { cert: …, key: … }"),
            (", trusted_proxies: [x]", "3:53: \"x\" is not a network; write it like 10.0.0.0/8, ::1/128 or 127.0.0.1"),
            (
                "}\n  more: { bind: \"127.0.0.1:8080\"",
                "4:17: 127.0.0.1:8080 is already taken by listener `web` (line 3); choose another address",
            ),
            (
                "}\n  more: { bind: \"0.0.0.0:8080\"",
                "4:17: 0.0.0.0:8080 is already taken by listener `web` (line 3); choose another address",
            ),
            (
                "}\n  more: { bind: \"127.0.0.1:7070\"",
                "4:17: 127.0.0.1:7070 is already taken by the admin port; choose another address",
            ),
            ("}\n  more: { allow: [::1]", "4:3: `bind` is missing; add an address like 127.0.0.1:8080"),
            (
                "}\n  a/b: { bind: \"127.0.0.1:1\"",
                "4:3: \"a/b\" is not a name; use 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit",
            ),
        ],
    );
}

#[test]
fn mistakes_in_routes() {
    each_says(
        "@ROUTE",
        &[
            ("  - { service: shp }", "12:16: there is no service `shp`; did you mean `shop`?"),
            ("  - {}", "12:5: the route leads nowhere; add one of service, redirect, respond"),
            (
                "  - { service: shop, respond: {} }",
                "12:5: the route leads to more than one place; keep one of service, redirect, respond",
            ),
            (
                "  - { service: shop, match: { listener: wep } }",
                "12:41: there is no listener `wep`; did you mean `web`?",
            ),
            (
                "  - { service: shop, match: { host: 'a:80' } }",
                "12:37: \"a:80\" is not a host; write a name without scheme and port, like shop.example.com",
            ),
            ("  - { service: shop, match: { path: api } }", "12:37: \"api\" is not a path; write it like /health"),
            (
                "  - { service: shop, match: { path: /a?b } }",
                "12:37: \"/a?b\" has a query; write the path alone, like /api/",
            ),
            (
                "  - { service: shop, match: { methods: [get] } }",
                "12:41: \"get\" is not a method; methods are in capitals, write GET",
            ),
            ("  - { service: shop, strip_prefix: / }", "12:36: `/` strips nothing; leave `strip_prefix` out"),
            (
                "  - { respond: {}, strip_prefix: /a }",
                "12:34: `strip_prefix` changes what is sent to a service; remove it, or add `service`",
            ),
            ("  - { redirect: {} }", "12:17: `to` is missing; add where to: https://{host}{path}{query}"),
            (
                "  - { redirect: { to: here } }",
                "12:23: \"here\" is not a redirect's target; write it like https://{host}{path}{query}",
            ),
            (
                "  - { redirect: { to: \"https://x/{port}\" } }",
                "12:23: \"{port}\" is no placeholder; use {host}, {path}, {query}",
            ),
            ("  - { redirect: { to: /x, status: 200 } }", "12:35: 200 is no redirect; write 301, 302, 303, 307 or 308"),
            ("  - { respond: { status: 101 } }", "12:26: 101 is no answer's status; write 200 to 599"),
            (
                "  - { service: shop, headers: { request: { remove: [te] } } }",
                "12:53: `te` is written by the proxy itself; choose another header",
            ),
            (
                "  - { service: shop, allow: [] }",
                "12:29: the list is empty; name a network that may use the route, or remove the key to let all",
            ),
            (
                "  - { service: shop, quotas: [] }",
                "12:22: the key `quotas` is not known here; known here: match, service, redirect, respond, strip_prefix, headers, allow",
            ),
            (
                "  -",
                "12:4: an item of `routes`: it is empty; it must be a map with the keys match, service, redirect, respond, strip_prefix, headers, allow",
            ),
        ],
    );
}

#[test]
fn what_is_required_is_missed() {
    assert_eq!(
        said(""),
        [
            "1:1: the configuration: it is empty; it must be a map with the keys admin, state, workers, shutdown, resolver, listeners, services, routes, webhooks, telemetry"
        ]
    );
    assert_eq!(
        said("workers: 1"),
        [
            "1:1: `listeners` is missing; add a port for clients: listeners: { web: { bind: \"127.0.0.1:8080\" } }",
            "1:1: `routes` is missing; add which requests go where: routes: [{ match: { path: / }, service: shop }]",
            "1:1: `services` is missing; add what users call: services: { shop: { groups: … } }",
        ]
    );
    assert_eq!(
        said("listeners: {}\nservices: {}\nroutes: []"),
        [
            "1:12: there is no listener; add one like web: { bind: \"127.0.0.1:8080\" }",
            "2:11: there is no service; add one like shop: { groups: … }",
        ]
    );
    let groups = "listeners: { w: { bind: 127.0.0.1:0 } }\nservices: { a: { groups: {} }, b: }\nroutes: []";
    assert_eq!(
        said(groups),
        [
            "2:26: the service has no group; add one like blue: { upstreams: [\"http://127.0.0.1:9001\"] }",
            "2:33: `b`: it is empty; it must be a map with the keys groups, split, emergency, balance, slow_start, rules, affinity, expose, health, timeouts, retries, limits, drain, hold, rollout",
        ]
    );
}

#[test]
fn malformed_yaml_is_one_error_with_its_place() {
    let said = said("listeners:\n  web: { bind: x\nservices: }\n");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("this is not YAML"), "{said:?}");
}

#[test]
fn every_mistake_is_reported_in_one_run_sorted_by_place() {
    let text = "\
listeners:
  web: { bind: \"127.0.0.1:8080\" }
  also: { bind: \"127.0.0.1:8080\" }
  secure: { bind: \"127.0.0.1:8443\", tls: { certificates: [{ cert: no.crt, key: no.key }] } }
workers: lots
services:
  shop:
    groups:
      blue: { upstreams: [\"http://127.0.0.1:9001\"] }
      green: { upstreams: [\"http://127.0.0.1:9002\"] }
    split: { blue: 99.9, green: 0 }
    heatlh: { kind: http }
    timeouts: { connect: 1 second }
    balance: hash
    balance: hash
routes:
  - { match: { path: / }, service: shopp }
";
    let missing = "cannot be read (No such file or directory (os error 2)); name a PEM file with";
    assert_eq!(
        said(text),
        [
            "3:17: 127.0.0.1:8080 is already taken by listener `web` (line 2); choose another address".to_owned(),
            format!("4:67: the file \"no.crt\" {missing} the certificate chain"),
            format!("4:80: the file \"no.key\" {missing} the private key"),
            "5:10: `workers`: \"lots\" is wrong here; it must be a whole number from 0 to 65535".to_owned(),
            "11:12: the shares sum to 99.9; they must sum to 100".to_owned(),
            "12:5: the key `heatlh` is not known here; did you mean `health`?".to_owned(),
            "13:26: `connect`: \"1 second\" is not a duration; write it like 250ms, 5s, 10m or 1h".to_owned(),
            "15:5: the key `balance` is already in line 14; remove one of them".to_owned(),
            "17:36: there is no service `shopp`; did you mean `shop`?".to_owned(),
        ]
    );
}
