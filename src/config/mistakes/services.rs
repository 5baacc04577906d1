//! Tests: mistakes in services and their groups.

use super::{each_says, filled, said};

#[test]
fn mistakes_in_services() {
    each_says(
        "@SERVICE",
        &[
            ("helth: {}", "9:5: the key `helth` is not known here; did you mean `health`?"),
            (
                "quotas: {}",
                "9:5: the key `quotas` is not known here; known here: groups, split, emergency, balance, slow_start, rules, affinity, expose, health, timeouts, retries, limits, drain, hold, rollout",
            ),
            ("split: { blue: 99.9, green: 0 }", "9:12: the shares sum to 99.9; they must sum to 100"),
            ("split: { blue: 99, gren: 1 }", "9:24: there is no group `gren`; did you mean `green`?"),
            (
                "split: { blue: 100.5 }",
                "9:20: `blue`: a share is a percentage from 0 to 100, not 100.5; write it like 25 or 99.9",
            ),
            (
                "split: { blue: 33.33333, green: 66.6667 }",
                "9:20: `blue`: \"33.33333\" has more than 4 decimals; round it",
            ),
            ("split: [blue]", "9:12: `split`: a list is wrong here; it must be a map"),
            ("emergency: red", "9:16: there is no group `red`; known here: blue, green"),
            (
                "balance: random",
                "9:14: `balance`: \"random\" is not known; known here: least_requests, round_robin, hash",
            ),
            ("slow_start: 0s", "9:17: `slow_start` is 0; it must be longer, like 1s"),
            (
                "affinity: sticky",
                "9:15: \"sticky\" is no affinity; write none, { cookie: NAME }, { header: NAME } or { client_ip: true }",
            ),
            (
                "affinity: { cookie: a, pin: true }",
                "9:28: the key `pin` is not known here; known here: cookie, always, header, client_ip",
            ),
            (
                "affinity: { cookie: a, header: b }",
                "9:15: the affinity is by more than one thing; write none, { cookie: NAME }, { header: NAME } or { client_ip: true }",
            ),
            (
                "affinity: { cookie: a, always: yes }",
                "9:36: `always`: \"yes\" is wrong here; it must be true or false, without quotes",
            ),
            ("affinity: { cookie: 'a b' }", "9:25: \"a b\" is not a cookie's name; use letters, digits, - and _"),
            ("affinity: { client_ip: false }", "9:28: `client_ip: false` says nothing; write `affinity: none`"),
            (
                "rules: [{ group: blue }]",
                "9:13: `when` is missing; add what a request must look like: { header: { x-beta: \"1\" } }",
            ),
            (
                "rules: [{ when: {}, group: blue }]",
                "9:21: the rule has no condition and would take every request; add header, cookie, query or client",
            ),
            (
                "rules: [{ when: { query: { v: 2 } }, group: red }]",
                "9:49: there is no group `red`; known here: blue, green",
            ),
            (
                "rules: [{ when: { header: { a: { regex: '(' } } }, group: blue }]",
                "9:45: \"(\" is not a regular expression (unclosed group); mend it, or write a plain text",
            ),
            (
                "rules: [{ when: { header: { 'a b': x } }, group: blue }]",
                "9:33: \"a b\" is not a header's name; use letters, digits and -, like x-release",
            ),
            (
                "rules: [{ when: { cookie: { a: [] } }, group: blue }]",
                "9:36: the list is empty, so nothing would fit; add a value",
            ),
            (
                "rules: [{ when: { client: [a] }, group: blue }]",
                "9:32: \"a\" is not a network; write it like 10.0.0.0/8, ::1/128 or 127.0.0.1",
            ),
            (
                "expose: { response_header: connection }",
                "9:32: `connection` is written by the proxy itself; choose another header",
            ),
            ("expose: {}", "9:13: `response_header` is missing; add a name like x-served-by"),
            (
                "health: { interval: 5 }",
                "9:25: `interval`: \"5\" is not a duration; write it like 250ms, 5s, 10m or 1h",
            ),
            ("health: { interval: 0s }", "9:25: `interval` is 0; it must be longer, like 1s"),
            ("health: { kind: https }", "9:21: `kind`: \"https\" is not known; did you mean `http`?"),
            (
                "health: { kind: tcp, path: /up }",
                "9:32: `path` means nothing to a tcp check; remove it, or write `kind: http` or `kind: websocket`",
            ),
            ("health: { path: up }", "9:21: \"up\" is not a path; write it like /health"),
            (
                "health: { expect: { status: 2xx } }",
                "9:33: \"2xx\" is no status; write it like 200, \"200-299\" or \"200,204\"",
            ),
            (
                "health: { expect: { json: { a..b: 1 } } }",
                "9:33: \"a..b\" is not a path into JSON; write it like checks.database",
            ),
            ("health: { healthy_after: 0 }", "9:30: `healthy_after` is 0; it must be 1 or more"),
            ("timeouts: { idle: 0ms }", "9:23: `idle` is 0; it must be longer, like 1s"),
            ("timeouts: { idle: 8761h }", "9:23: `idle`: \"8761h\" is longer than a year; write less"),
            (
                "retries: { attempts: -1 }",
                "9:26: `attempts`: \"-1\" is wrong here; it must be a whole number from 0 to 4294967295",
            ),
            (
                "limits: { body: 64MB }",
                "9:21: `body`: \"64MB\" is not a size; write it like 512B, 64KiB, 10MiB or 2GiB",
            ),
            ("limits: { body: 0B }", "9:21: `body` is 0; write a size like 64MiB, or remove it to have no limit"),
            ("limits: { in_flight: 0 }", "9:26: `in_flight` is 0; write 1 or more, or remove it to have no limit"),
            (
                "limits: { queue: 5 }",
                "9:22: nobody waits as long as everybody is let in; add `in_flight`, or remove `queue`",
            ),
            (
                "timeouts: 5s",
                "9:15: `timeouts`: \"5s\" is wrong here; it must be a map with the keys connect, response, idle, tunnel_idle",
            ),
        ],
    );
}

#[test]
fn mistakes_in_how_requests_are_let_go_and_held() {
    each_says(
        "@SERVICE",
        &[
            ("drain: { timeout: 0s }", "9:23: `timeout` is 0; it must be longer, like 1s"),
            ("drain: { timeout: 25h }", "9:23: `timeout` is longer than a day; write less"),
            (
                "drain: { tunnels: { close_code: 1006 } }",
                "9:37: 1006 is no code to close with; write 1000, 1001, 1012 or 3000 to 4999",
            ),
            (
                "drain: { hook: {} }",
                "9:20: the hook says nothing; add start: { path: /drain } or poll: { path: /state }",
            ),
            ("drain: { hook: { start: {} } }", "9:29: `path` is missing; add path and query: /drain"),
            (
                "drain: { hook: { start: { path: /a, method: BREW } } }",
                "9:49: \"BREW\" is no method for a hook; write GET, POST, PUT, PATCH or DELETE",
            ),
            (
                "drain: { hook: { poll: { path: /a, until: {} } } }",
                "9:47: `json` is missing; add what must hold: { queueDepth: 0 }",
            ),
            ("hold: { for: 0s }", "9:18: `for` is 0; it must be longer, like 1s"),
            ("hold: { for: 11m }", "9:18: `for` is longer than 10m; no client is that patient, write less"),
            ("hold: { requests: 0 }", "9:23: `requests` is 0, so that nobody could wait; write 1 or more"),
            ("hold: { bytes: 0B }", "9:20: `bytes` is 0, so that nobody could wait; write a size like 64MiB"),
        ],
    );
}

#[test]
fn mistakes_in_groups() {
    let upstream = |with: &str| filled("upstreams: [\"http://127.0.0.1:9001\"]", with);
    for (with, message) in [
        ("upstreams: []", "7:26: the list is empty; add an address like http://127.0.0.1:9001"),
        ("headers: { x: y }", "7:7: `upstreams` is missing; add a list like [\"http://127.0.0.1:9001\"]"),
        ("upstreams: http://a", "7:26: `upstreams`: \"http://a\" is wrong here; it must be a list"),
        (
            "upstreams: ['127.0.0.1:9001']",
            "7:27: \"127.0.0.1:9001\" is not an upstream's URL; write it like http://127.0.0.1:9001, https://…, h2c://… or unix:/path",
        ),
        (
            "upstreams: ['http://a/b']",
            "7:27: \"http://a/b\" has a path; an upstream is a host and a port, see `strip_prefix` of routes",
        ),
        (
            "upstreams: ['http://u:p@a']",
            "7:27: \"http://u:p@a\" has a user in it; set an authorization header in `headers` instead",
        ),
        (
            "upstreams: ['http://a:0']",
            "7:27: \"http://a:0\" has no sound host and port; write it like http://127.0.0.1:9001",
        ),
        (
            "upstreams: ['http://a:99999']",
            "7:27: \"http://a:99999\" has no sound host and port; write it like http://127.0.0.1:9001",
        ),
        ("upstreams: ['unix:']", "7:27: \"unix:\" names no socket; write it like unix:/run/app.sock"),
        (
            "upstreams: ['http://a', 'http://a/']",
            "7:39: \"http://a\" is already in this group; name it once, with a `weight`",
        ),
        ("upstreams: [[a]]", "7:27: an item of `upstreams`: a list is wrong here; it must be a text or a map"),
        (
            "upstreams: [{ url: 'http://a', weight: 0 }]",
            "7:54: a weight of 0 sends nothing; write 1 or more, or remove the upstream",
        ),
        ("upstreams: [{ weight: 1 }]", "7:27: `url` is missing; add an address like http://127.0.0.1:9001"),
        (
            "upstreams: [{ url: 'http://a', server_name: b }]",
            "7:59: `server_name` is for TLS, and the URL is not https; remove it, or write https://",
        ),
        (
            "upstreams: ['http://a'], headers: { content-length: 1 }",
            "7:51: `content-length` is written by the proxy itself; choose another header",
        ),
        (
            "upstreams: ['http://a'], headers: { x: \"a\\nb\" }",
            "7:54: \"a\\nb\" is not a header's value; it must be one line of visible characters",
        ),
    ] {
        assert_eq!(said(&upstream(with)), [message], "{with}");
    }
}
