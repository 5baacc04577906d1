//! Tests: mistakes in the plan of a rollout and in webhooks.

use super::{each_says, filled, said};

/// What is said of a service whose rollout is so; columns count from behind `rollout: `.
fn of_rollout(table: &[(&str, &str, &str)]) {
    for (with, place, message) in table {
        let service = format!("rollout:\n      {with}");
        assert_eq!(said(&filled("@SERVICE", &service)), [format!("10:{place}: {message}")], "{with}");
    }
}

#[test]
fn mistakes_in_steps() {
    of_rollout(&[
        ("steps: []", "14", "the list is empty; add at least { share: 100 }"),
        ("steps: [{ hold: 1m }]", "15", "`share` is missing; add the candidate's share in per cent, like 10"),
        (
            "steps: [{ share: 10 }, 100]",
            "30",
            "an item of `steps`: \"100\" is wrong here; it must be a map with the keys share, hold",
        ),
        (
            "steps: [{ share: 0 }, { share: 100 }]",
            "24",
            "a step to 0 sends nobody to the candidate; each step must go to more than the one before",
        ),
        (
            "steps: [{ share: 50 }, { share: 25 }, { share: 100 }]",
            "39",
            "the step to 25 comes after one to 50; each step must go to more than the one before",
        ),
        (
            "steps: [{ share: 50 }, { share: 50 }, { share: 100 }]",
            "39",
            "the step before goes to 50 as well; each step must go to more than the one before",
        ),
        (
            "steps: [{ share: 110 }]",
            "24",
            "`share`: a share is a percentage from 0 to 100, not 110; write it like 25 or 99.9",
        ),
        ("steps: [{ share: 10 }, { share: 50 }]", "30", "the last step goes to 50; the last one must go to 100"),
        ("steps: [{ share: 100, hold: 169h }]", "35", "`hold` is longer than a week; write less"),
        ("steps: [{ share: 100, wait: 1m }]", "29", "the key `wait` is not known here; known here: share, hold"),
        ("setps: []", "7", "the key `setps` is not known here; did you mean `steps`?"),
        ("bake: 8760h", "13", "`bake` is longer than a week; write less"),
        ("then: forget", "13", "`then`: \"forget\" is not known; known here: drain, keep"),
        ("warm_up: [{ times: 1 }]", "17", "`path` is missing; add path and query: /health"),
        ("warm_up: [{ path: /, times: 0 }]", "35", "0 is no number of requests to warm up with; write 1 to 1000"),
    ]);
}

#[test]
fn mistakes_in_what_is_decided() {
    of_rollout(&[
        ("confidence: 49.9%", "19", "a confidence of 49.9% is out of range; write 50% to 99.9999%"),
        ("confidence: 100%", "19", "a confidence of 100% is out of range; write 50% to 99.9999%"),
        (
            "min_requests: -1",
            "21",
            "`min_requests`: \"-1\" is wrong here; it must be a whole number from 0 to 18446744073709551615",
        ),
        ("undecided: { do: wait }", "24", "`do`: \"wait\" is not known; known here: hold, advance, rollback"),
        ("undecided: { do: advanc }", "24", "`do`: \"advanc\" is not known; did you mean `advance`?"),
        (
            "on_failure: retreat",
            "19",
            "\"retreat\" is not known here; write rollback, or { step_down: [50, 10, 0], every: 1m }",
        ),
        (
            "on_failure: { step_down: [10, 50, 0] }",
            "37",
            "50 comes after 10; each share must be less than the one before",
        ),
        ("on_failure: { step_down: [50, 10] }", "37", "the last share is 10; the last one must be 0"),
        (
            "on_failure: { step_down: [] }",
            "32",
            "the list is empty; write shares that fall to 0, or on_failure: rollback",
        ),
        ("on_failure: { every: 1m }", "19", "`step_down` is missing; add shares that fall to 0: [50, 10, 0]"),
        ("on_failure: { step_down: [0], every: 0s }", "44", "`every` is 0; it must be longer, like 1s"),
        ("approval: { before: [] }", "27", "the list is empty; write first_step, or remove `approval`"),
        ("approval: { before: [frist_step] }", "28", "\"frist_step\" is not known; did you mean `first_step`?"),
        ("approval: { before: [drain, drain] }", "35", "this is already in the list; write it once"),
        (
            "approval: { before: [30] }",
            "27",
            "no step goes to 30, ahead of which somebody has to agree; steps go to 10, 25, 50, 100",
        ),
        ("approval: { within: 0s }", "27", "`within` is 0; it must be longer, like 1s"),
        ("approval: { by: me }", "23", "`by`: \"me\" is not known; known here: anyone, another"),
        (
            "validate: {}",
            "17",
            "`hook` is missing; add who tests the candidate: hook: { url: \"http://127.0.0.1:9100/smoke\" or command: [./smoke.sh] }",
        ),
        (
            "validate: { hook: {} }",
            "25",
            "the hook asks nobody; add url: \"http://127.0.0.1:9100/smoke\" or command: [./smoke.sh]",
        ),
        (
            "validate: { hook: { url: 'http://a', command: [b] } }",
            "25",
            "the hook has both `url` and `command`; keep one of them",
        ),
        (
            "validate: { hook: { url: smoke } }",
            "32",
            "\"smoke\" is not one of http or https; write it like http://127.0.0.1:9100/path",
        ),
        ("validate: { hook: { command: [] } }", "36", "the list is empty; name a program"),
        ("validate: { hook: { command: [''] } }", "37", "the program has no name; write it like ./smoke.sh"),
        ("validate: { hook: { command: [x], timeout: 0s } }", "50", "`timeout` is 0; it must be longer, like 1s"),
    ]);
}

#[test]
fn mistakes_in_freezes() {
    of_rollout(&[
        ("freeze: [{ for: 1h }]", "16", "`cron` is missing; add when it begins, as in crontab: \"0 18 * * FRI\""),
        ("freeze: [{ cron: '0 18 * * FRI' }]", "16", "`for` is missing; add how long it lasts, like 62h"),
        ("freeze: [{ cron: '0 18 * * FRI', for: 0s }]", "45", "`for` is 0; it must be longer, like 1s"),
        (
            "freeze: [{ cron: '0 0 31 2 *', for: 1h }]",
            "24",
            "\"0 0 31 2 *\" never comes; write minute, hour, day, month and weekday, like \"0 18 * * FRI\"",
        ),
        (
            "freeze: [{ cron: '0 18 * * FRI', for: 1h, zone: Europe/Berln }]",
            "55",
            "there is no time zone \"Europe/Berln\"; did you mean `Europe/Berlin`?",
        ),
        (
            "freeze: [{ cron: '0 18 * * FRI', for: 1h, zone: Berlin }]",
            "55",
            "there is no time zone \"Berlin\"; write its IANA name, like UTC or Europe/Berlin",
        ),
    ]);
    for cron in ["", "0 18 * *", "0 0 18 * * FRI", "60 * * * *", "* 24 * * *", "* * * * FRIDAI", "noon", "*/0 * * * *"]
    {
        let said = said(&filled("@SERVICE", &format!("rollout:\n      freeze: [{{ cron: '{cron}', for: 1h }}]")));
        let sound = said.len() == 1
            && said[0].starts_with(&format!("10:24: {cron:?} is no time in a crontab ("))
            && said[0].ends_with("; write minute, hour, day, month and weekday, like \"0 18 * * FRI\"");
        assert!(sound, "{cron}: {said:?}");
    }
}

#[test]
fn mistakes_in_guards() {
    let asked = "name: a, url: 'http://p', query: q";
    let prometheus = |guard: &str| filled("@SERVICE", &format!("rollout:\n      guards: {{ prometheus: [{guard}] }}"));
    for (guard, message) in [
        (
            "{}".to_owned(),
            vec![
                "10:30: `name` is missing; add a name for verdicts",
                "10:30: `query` is missing; add a query whose answer is one number",
                "10:30: `url` is missing; add a URL like http://127.0.0.1:9090",
                "10:30: the guard has no limit; add above: 0.01 or below: 0.99",
            ],
        ),
        (format!("{{ {asked} }}"), vec!["10:30: the guard has no limit; add above: 0.01 or below: 0.99"]),
        (
            format!("{{ {asked}, above: 1, below: 1 }}"),
            vec!["10:30: the guard has two limits; keep one of above, below"],
        ),
        (
            format!("{{ {asked}, above: lots }}"),
            vec!["10:75: `above`: \"lots\" is not a number; write it like 0.01 or 250"],
        ),
        (
            format!("{{ {asked}, above: 1 }}, {{ {asked}, above: 1 }}"),
            vec!["10:88: there is already a guard called `a`; choose another name"],
        ),
        (
            format!("{{ {asked}, above: 1, every: 0s }}").replace("name: a", "name: b"),
            vec!["10:85: `every` is 0; it must be longer, like 1s"],
        ),
        (
            format!("{{ {asked}, above: 1, every: 99ms }}"),
            vec!["10:85: `every` is shorter than 100ms; write more, like 15s"],
        ),
        (
            format!("{{ {asked}, above: 1 }}").replace("name: a", "name: error_rate"),
            vec!["10:38: there is already a guard called `error_rate`; choose another name"],
        ),
        (
            format!("{{ {asked}, above: 1 }}").replace("http://p", "http://p/?x"),
            vec!["10:46: the URL has a query; write the server's alone, like http://127.0.0.1:9090"],
        ),
        (
            format!("{{ {asked}, above: 1 }}").replace("http://p", "ftp://p"),
            vec!["10:46: \"ftp://p\" is not one of http or https; write it like http://127.0.0.1:9100/path"],
        ),
    ] {
        assert_eq!(said(&prometheus(&guard)), message, "{guard}");
    }
    of_rollout(&[
        (
            "guards: { http: [{ name: a, url: 'http://p', timeout: 61s }] }",
            "61",
            "`timeout` is longer than 60s; write less, like 5s",
        ),
        (
            "guards: { http: [{ name: a, url: 'http://p', every: 50ms }] }",
            "59",
            "`every` is shorter than 100ms; write more, like 15s",
        ),
        ("guards: { error_rate: {} }", "29", "`above` is missing; add a limit like above: 5%"),
        (
            "guards: { error_rate: { above: 0 } }",
            "38",
            "above 0% says nothing about a candidate; write more than 0 and less than 100",
        ),
        (
            "guards: { websocket_success: { below: 100% } }",
            "45",
            "below 100% says nothing about a candidate; write more than 0 and less than 100",
        ),
        ("guards: { latency_p95: {} }", "30", "the guard has no limit; add above: 800ms or above_baseline: 50%"),
        (
            "guards: { latency_mean: { above: 1s, above_baseline: 5% } }",
            "31",
            "the guard has two limits; keep one of above, above_baseline",
        ),
        ("guards: { latency_p99: { above: 0s } }", "39", "`above` is 0; it must be longer, like 1s"),
        (
            "guards: { latency_p50: { above_baseline: -5 } }",
            "48",
            "`above_baseline`: \"-5\" is not an increase in per cent; write it like 50% or 200%",
        ),
        (
            "guards: { latency_p96: { above: 1s } }",
            "17",
            "the key `latency_p96` is not known here; did you mean `latency_p90`?",
        ),
        ("guards: { unhealthy_for: 0s }", "32", "`unhealthy_for` is 0; it must be longer, like 1s"),
        ("guards: { connect_failures: 0 }", "35", "`connect_failures` is 0; it must be 1 or more"),
        ("guards: { http: [] }", "23", "the list is empty; add a guard, or remove the key"),
        (
            "guards: { http: [{ name: a, url: 'http://u:p@b' }] }",
            "40",
            "\"http://u:p@b\" has a user in it, which would be shown wherever the URL is; remove it",
        ),
        (
            "guards: { http: [{ name: a, url: 'http://b', timeout: 0s }] }",
            "61",
            "`timeout` is 0; it must be longer, like 1s",
        ),
    ]);
}

#[test]
fn mistakes_in_webhooks() {
    each_says(
        "@ADMIN",
        &[
            ("webhooks: []", "1:11: the list is empty; add a webhook, or remove the key"),
            (
                "webhooks: [{ name: a }]",
                "1:12: `url` is missing; add where events are sent, like http://127.0.0.1:9200/hook",
            ),
            ("webhooks: [{ url: 'http://a' }]", "1:12: `name` is missing; add a name for logs and jobs"),
            (
                "webhooks: [{ name: a, url: 'http://a' }, { name: a, url: 'http://b' }]",
                "1:42: there is already a webhook called `a`; choose another name",
            ),
            (
                "webhooks: [{ name: a, url: 'https://hooks/s3cr3t#x' }]",
                "1:28: the URL has a fragment, which is never sent; remove what begins with #",
            ),
            (
                "webhooks: [{ name: a, url: 'hooks/s3cr3t' }]",
                "1:28: the URL is not one of http or https; write it like http://127.0.0.1:9100/path",
            ),
            (
                "webhooks: [{ name: a, url: 'http://a', events: [] }]",
                "1:48: the list is empty; write switch, rollout.* or *, or remove the key to be told everything",
            ),
            (
                "webhooks: [{ name: a, url: 'http://a', events: ['rollout*'] }]",
                "1:49: \"rollout*\" is not a kind of event; write it like switch, rollout.* or *",
            ),
            (
                "webhooks: [{ name: a, url: 'http://a', events: ['.*'] }]",
                "1:49: \".*\" is not a kind of event; write it like switch, rollout.* or *",
            ),
            (
                "webhooks: [{ name: a, url: 'http://a', format: xml }]",
                "1:48: `format`: \"xml\" is not known; known here: json, slack",
            ),
        ],
    );
}
