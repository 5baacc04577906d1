//! Tests: the example files, certificates, and texts that nobody would write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::spec::{Action, Affinity, Bind, Check, Endpoint, Hold, Limits, TunnelClose};
use super::{Loaded, load, parse, schema};
use crate::model::names::GroupName;
use crate::model::rollout::plan::{Approval, Approver, Freeze, Gate, OnTimeout, Plan, Validation, Validator, WarmUp};
use crate::model::split::Share;
use crate::model::verdict::plan::{Bound, Guards, QuantileLimit, Threshold};

const FULL: &str = include_str!("../../config/full.yaml");

/// The example files, in a folder of their own beside certificates made for the test.
struct Examples(tempfile::TempDir);

impl Examples {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        std::fs::create_dir(folder.path().join("config")).unwrap();
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        // Units for systemd have a folder of their own.
        let files = std::fs::read_dir(source).unwrap().map(Result::unwrap);
        for file in files.filter(|file| file.path().is_file()) {
            std::fs::copy(file.path(), folder.path().join("config").join(file.file_name())).unwrap();
        }
        let examples = Self(folder);
        examples.certificate("dev");
        examples
    }

    fn certificate(&self, name: &str) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.path(&format!("certs/{name}.crt")), made.cert.pem()).unwrap();
        std::fs::write(self.path(&format!("certs/{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// What is wrong with a listener whose TLS is `tls`, without the file's name.
    fn tls(&self, tls: &str) -> Vec<String> {
        let text = format!(
            "listeners: {{ web: {{ bind: 127.0.0.1:0, tls: {tls} }} }}\nroutes: []\n\
             services: {{ s: {{ groups: {{ b: {{ upstreams: [http://a] }} }} }} }}\n"
        );
        match parse(text, &self.path("config/x.yaml"), &|_| None) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.into_iter().map(|p| format!("{}:{}: {}", p.line, p.col, p.message)).collect(),
        }
    }
}

fn full(env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    parse(FULL, Path::new("/etc/pointsman/full.yaml"), env).unwrap()
}

#[test]
fn every_example_is_sound() {
    let examples = Examples::new();
    let mut seen = 0;
    for file in std::fs::read_dir(examples.path("config")).unwrap() {
        let path = file.unwrap().path();
        let loaded = load(&path, &|_| None).unwrap_or_else(|error| panic!("{error}"));
        assert!(!loaded.spec.routes.is_empty() && loaded.text == std::fs::read_to_string(&path).unwrap());
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}

#[test]
fn the_full_example_becomes_the_spec_that_it_says() {
    let spec = full(&|name| (name == "POINTSMAN_WORKERS").then(|| "7".to_owned())).spec;
    assert_eq!(spec.shutdown, super::spec::Shutdown::default());
    assert_eq!(spec.workers, 7);
    assert_eq!(spec.resolver.servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    assert_eq!(full(&|_| None).spec.workers, 2);
    assert_eq!(spec.state.path, Path::new("/etc/pointsman/../state/pointsman.db"));
    let listeners: Vec<_> = spec.listeners.iter().map(|l| l.name.to_string()).collect();
    assert_eq!(listeners, ["web", "validation"]);
    let services: Vec<_> = spec.services.iter().map(|s| s.name.to_string()).collect();
    assert_eq!(services, ["shop", "greeter"]);
    let shop = &spec.services[0];
    assert_eq!(shop.split.to_string(), "blue 100, green 0");
    assert_eq!(shop.emergency, GroupName::new("green").ok());
    assert_eq!(shop.groups[1].upstreams[0].weight, 2);
    assert_eq!(shop.groups[1].headers[0].1, "2.5.0");
    assert_eq!((shop.rules.len(), shop.retries.budget.ppm()), (3, 200_000));
    let Check::Http { path, expect, .. } = &shop.health.check else { panic!("{:?}", shop.health) };
    assert_eq!((path.as_str(), &expect.statuses[..], expect.json.len()), ("/health", &[(200, 299)][..], 2));
    assert_eq!(expect.json[1], ("checks.database".to_owned(), "healthy".into()));
    assert_eq!(shop.slow_start.map(|time| time.as_secs()), Some(30));
    assert_eq!(shop.limits, Limits { body: Some(64 << 20), in_flight: Some(10_000), queue: 100 });
    let hook = shop.drain.hook.as_ref().unwrap();
    let (start, poll) = (hook.start.as_ref().unwrap(), hook.poll.as_ref().unwrap());
    assert_eq!((start.method.as_str(), &start.json), ("POST", &Some(serde_json::json!({ "timeoutMs": 45000 }))));
    assert_eq!((poll.call.method.as_str(), poll.call.headers.len(), poll.until.len()), ("GET", 1, 2));
    assert_eq!((shop.drain.timeout.as_secs(), shop.drain.tunnels), (30, TunnelClose::default()));
    assert_eq!(shop.hold, Hold::default());
    let plan = &shop.rollout;
    assert_eq!(
        Plan {
            warm_up: Vec::new(),
            validate: None,
            approval: None,
            guards: Guards::default(),
            freeze: Vec::new(),
            ..plan.clone()
        },
        Plan::default(),
        "beside these, the example shows the defaults"
    );
    let share = |percent| Share::from_percent(percent).unwrap();
    assert_eq!(plan.warm_up, [WarmUp { path: "/health".to_owned(), times: 3 }]);
    let smoke = Validator::Url("http://127.0.0.1:9100/smoke".to_owned());
    assert_eq!(plan.validate, Some(Validation { by: smoke, timeout: Duration::from_secs(1200) }));
    let before = vec![Gate::FirstStep, Gate::Share(share(50.0))];
    let (by, on_timeout) = (Approver::Anyone, OnTimeout::Rollback);
    assert_eq!(plan.approval, Some(Approval { before, within: Duration::from_secs(1200), by, on_timeout }));
    let bound = Bound::AboveBaseline(0.5);
    assert_eq!(plan.guards.latency_quantiles, [QuantileLimit { percent: 95, bound }]);
    assert_eq!(plan.guards.latency_mean, Some(Bound::Above(Duration::from_secs(5))));
    assert_eq!(plan.guards.websocket_success, Some(share(95.0)));
    let (asked, other) = (&plan.guards.prometheus[0], &plan.guards.http[0]);
    assert_eq!(
        (asked.name.as_str(), asked.threshold, asked.every.as_secs()),
        ("checkout_errors", Threshold::Above(0.01), 15)
    );
    assert_eq!((other.name.as_str(), other.every.as_secs(), other.timeout.as_secs()), ("orders", 15, 5));
    let (cron, zone) = ("0 18 * * FRI".to_owned(), "Europe/Berlin".to_owned());
    assert_eq!(plan.freeze, [Freeze { cron, length: Duration::from_secs(62 * 3600), zone }]);
    assert_eq!(spec.services[1].rollout, Plan::default());
    let hook = &spec.webhooks[0];
    assert_eq!((hook.name.as_str(), hook.url.as_str(), &hook.secret), ("ops", "http://127.0.0.1:9200/hook", &None));
    let wanted =
        ["rollout", "rollout.paused", "switch", "switch.refused", "rollouts", "rollback"].map(|kind| hook.wants(kind));
    assert_eq!(wanted, [true, true, true, false, false, true]);
    let web = &spec.listeners[0];
    assert_eq!((web.max_connections, web.head_timeout.as_secs(), web.idle_timeout.as_secs()), (Some(10_000), 10, 60));
    assert_eq!(spec.services[1].affinity, Affinity::None);
    assert_eq!(spec.services[1].split.to_string(), "blue 100, green 0");
    assert!(matches!(&spec.routes[2].action, Action::Redirect { status, .. } if status.as_u16() == 308));
    // The digest of "test", as the example says.
    assert_eq!(spec.admin.tokens[0].sha256[..4], [0x9f, 0x86, 0xd0, 0x81]);
}

#[test]
fn the_secret_of_a_webhook_is_kept_and_never_shown() {
    let loaded = full(&|name| (name == "HOOK_SECRET").then(|| "s3cr3t".to_owned()));
    let hook = &loaded.spec.webhooks[0];
    assert_eq!(hook.secret.as_ref().map(super::spec::Secret::revealed), Some("s3cr3t"));
    assert!(!format!("{loaded:?} {:?}", hook.secret).contains("s3cr3t"), "{loaded:?}");
    assert!(!super::export(&loaded.text, &[]).contains("s3cr3t"));
}

#[test]
fn a_program_that_tests_a_candidate_begins_at_the_folder_of_the_file_or_is_looked_for() {
    let program = |written: &str| {
        let hook = format!("hook: {{ command: [{written}, x] }}");
        let text = FULL.replace("hook: { url: \"http://127.0.0.1:9100/smoke\", timeout: 20m }", &hook);
        let spec = parse(text, Path::new("/etc/pointsman/full.yaml"), &|_| None).unwrap().spec;
        spec.services[0].rollout.validate.clone().unwrap().by
    };
    for (written, found) in [
        ("./smoke.sh", "/etc/pointsman/./smoke.sh"),
        ("bin/smoke", "/etc/pointsman/bin/smoke"),
        ("/bin/smoke", "/bin/smoke"),
        ("smoke", "smoke"),
    ] {
        assert_eq!(program(written), Validator::Command(vec![found.to_owned(), "x".to_owned()]), "{written}");
    }
}

#[test]
fn what_the_file_leaves_out_has_its_default() {
    let text = "listeners: { w: { bind: 'unix:w.sock' } }\nservices:\n  s:\n    groups:\n      \
                green: { upstreams: ['unix:/run/g.sock'] }\n      blue: { upstreams: ['https://[::1]'] }\n\
                routes: [{ service: s }]\n";
    let spec = parse(text, Path::new("/etc/p/p.yaml"), &|_| None).unwrap().spec;
    assert_eq!(spec.state.path, Path::new("/etc/p/state/pointsman.db"));
    assert_eq!(spec.listeners[0].bind, Bind::Unix("/etc/p/w.sock".into()));
    assert!((1..=256).contains(&spec.workers) && spec.telemetry.log == "info" && spec.telemetry.access_log.is_none());
    let listener = &spec.listeners[0];
    assert_eq!(listener.max_connections, None);
    assert_eq!((listener.head_timeout.as_secs(), listener.idle_timeout.as_secs()), (30, 75));
    let service = &spec.services[0];
    assert_eq!(service.slow_start, None);
    assert_eq!(service.limits, Limits { body: None, in_flight: None, queue: 0 });
    assert_eq!((service.drain.timeout.as_secs(), &service.drain.hook), (30, &None));
    assert_eq!((service.drain.tunnels.code, service.drain.tunnels.spread.as_secs()), (1012, 5));
    assert_eq!((service.hold.time.as_secs(), service.hold.requests, service.hold.bytes), (10, 10_000, 64 << 20));
    assert_eq!((&service.rollout, &spec.webhooks), (&Plan::default(), &Vec::new()));
    assert_eq!(service.affinity, Affinity::Cookie { name: "pointsman".to_owned(), always: false });
    assert_eq!(service.split.live().as_str(), "green", "the first group of the file has everything");
    assert_eq!(service.groups[0].name.as_str(), "blue", "groups are in the order of their names");
    assert_eq!((&service.health.check, service.health.interval.as_secs()), (&Check::Tcp, 5));
    let Endpoint { address, .. } = &service.groups[0].upstreams[0].endpoint;
    assert_eq!(*address, super::spec::Address::Tcp { host: "::1".to_owned(), port: 443 });
    assert_eq!(spec.routes[0].matches.path, "/");
}

#[test]
fn certificates_must_be_there_and_fit_their_keys() {
    let examples = Examples::new();
    examples.certificate("other");
    std::fs::write(examples.path("certs/not.pem"), "hello").unwrap();
    let pair = |cert: &str, key: &str| {
        examples.tls(&format!("{{ certificates: [{{ cert: ../certs/{cert}, key: ../certs/{key} }}] }}"))
    };
    assert_eq!(pair("dev.crt", "dev.key"), [""; 0]);
    let wrong_key = "1:93: this key does not belong to the certificate; name the key that it was made with";
    assert_eq!(pair("dev.crt", "other.key"), [wrong_key]);
    let no_certificate = "1:70: the file has no certificate in it; name a PEM file with the certificate chain";
    assert_eq!(pair("not.pem", "dev.key"), [no_certificate]);
    let no_key = "1:93: the file has no private key in it; name a PEM file with the private key";
    assert_eq!(pair("dev.crt", "not.pem"), [no_key]);
    let folder = "1:70: the file \"../certs/\" cannot be read (it is no regular file); name a PEM file with the \
                  certificate chain";
    assert_eq!(pair("", "dev.key"), [folder]);
    let ca = "{ certificates: [{ cert: ../certs/dev.crt, key: ../certs/dev.key }], client_ca: ../certs/not.pem }";
    assert_eq!(
        examples.tls(ca),
        ["1:125: the file has no certificate in it; name a PEM file with the authority's certificate"]
    );
    assert_eq!(examples.tls(&ca.replace("not.pem", "other.crt")), [""; 0]);
}

#[test]
fn the_files_that_are_worth_watching_are_named_once() {
    let examples = Examples::new();
    let loaded = load(&examples.path("config/tls.yaml"), &|_| None).unwrap();
    let expected = ["config/../certs/dev.crt", "config/../certs/dev.key"].map(|file| examples.path(file));
    assert_eq!(loaded.files, expected);
}

#[test]
fn beyond_loopback_credentials_are_enough() {
    let text = format!("admin: {{ listen: 0.0.0.0:1, tokens: [{{ name: a, role: admin, env: T }}] }}\n{}", {
        FULL.split_once("\nstate:").map(|(_, rest)| format!("state:{rest}")).unwrap()
    });
    let spec = parse(text, Path::new("f.yaml"), &|name| (name == "T").then(|| " test\n".to_owned())).unwrap().spec;
    assert_eq!(spec.admin.tokens[0].sha256[..4], [0x9f, 0x86, 0xd0, 0x81], "white space around a token is not its");
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_utf8_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yaml");
    let said = |path: &Path| load(path, &|_| None).unwrap_err().to_string().replace(path.to_str().unwrap(), "f");
    assert_eq!(said(&path), "f: cannot be read (No such file or directory (os error 2)); name a configuration file");
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(said(&path), "f:2:4: this is not UTF-8; save the file as UTF-8");
}

#[test]
fn the_schema_knows_every_key_and_what_is_required() {
    let schema = schema();
    assert_eq!(schema["required"], serde_json::json!(["listeners", "services", "routes"]));
    assert_eq!(schema["additionalProperties"], false);
    let text = schema.to_string();
    for key in [
        "trusted_proxies",
        "unhealthy_after",
        "tunnel_idle",
        "in_flight",
        "proxy_protocol",
        "strip_prefix",
        "least_requests",
        "client_ca",
        "warm_up",
        "step_down",
        "above_baseline",
        "on_timeout",
        "webhooks",
    ] {
        assert!(text.contains(&format!("\"{key}\"")), "{key}");
    }
    assert!(!text.contains('@'), "a name that is for the reader only has leaked: {text}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = parse(text, Path::new("f.yaml"), &|_| None);
    }

    #[test]
    fn no_change_of_a_sound_text_makes_it_panic_and_every_refusal_says_why(
        edits in prop::collection::vec((0..FULL.len(), 0..12_usize, "[\\[\\]{}:,&*!|>'\"%@`#$\\-?<~ \n0-9a-z\u{e4}]{0,6}"), 1..6)
    ) {
        let mut text = FULL.to_owned();
        for (at, length, with) in edits {
            let floor = |n: usize| (0..=n.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
            let range = floor(at)..floor(at + length).max(floor(at));
            text.replace_range(range, &with);
        }
        match parse(text.clone(), Path::new("f.yaml"), &|_| None) {
            Ok(loaded) => prop_assert!(!loaded.spec.services.is_empty()),
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                for problem in &error.problems {
                    prop_assert!(problem.line > 0 && problem.col > 0, "{}", problem);
                    prop_assert!(problem.message.contains([';', '?']) && !problem.message.contains('\n'), "{}", problem);
                }
            }
        }
        let split = full(&|_| None).spec.services[0].split.clone();
        let service = crate::model::names::ServiceName::new("shop").unwrap();
        let _ = super::export(&text, &[(service, split)]);
    }
}
