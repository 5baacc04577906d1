//! The cookie: when it is set, what it looks like, and that it leads to the same group for as long as it may.

use serde_json::json;

use super::{cookie_set, group, members, shift};
use crate::support::client::H2Client;
use crate::support::proxy::blue_green;
use crate::support::{Answer, Client, Proxy, Upstream};

async fn divided(extra: &str) -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, extra).await;
    (blue, green, proxy)
}

#[tokio::test]
async fn a_cookie_is_set_only_while_more_than_one_group_has_a_share() {
    let (_blue, _green, proxy) = divided("").await;
    let mut client = proxy.client().await;
    assert_eq!(cookie_set(&client.get("/").await), None);
    shift(&proxy, "green", 10.0).await;
    let answer = client.get("/").await;
    let id = cookie_set(&answer).unwrap().strip_prefix("pointsman=").unwrap().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let attributes: Vec<_> = answer.header("set-cookie").unwrap().split("; ").skip(1).collect();
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(attributes.contains(&attribute), "{attribute} is not in {attributes:?}");
    }
    assert!(attributes.iter().any(|a| a.starts_with("Max-Age=")), "{attributes:?}");
    assert!(!attributes.contains(&"Secure"), "over plain HTTP a browser would drop it: {attributes:?}");
    let again = client.get("/").await;
    assert_ne!(cookie_set(&again).unwrap(), format!("pointsman={id}"), "two visitors share an id");
    // Who has one keeps it, whatever else the browser sends along.
    let cookie = format!("theme=dark; pointsman={id}; lang=de");
    assert_eq!(cookie_set(&client.get_with("/", &[("cookie", &cookie)]).await), None);
    proxy.switch("shop", "green").await;
    assert_eq!(cookie_set(&client.get("/").await), None);
}

#[tokio::test]
async fn a_cookie_says_nothing_about_the_group() {
    let (_blue, _green, proxy) = divided("split: { blue: 50, green: 50 }").await;
    let mut client = proxy.client().await;
    let mut first_digits = [[false; 2]; 16];
    for _ in 0..600 {
        let answer = client.get("/").await;
        let digit = cookie_set(&answer).unwrap()["pointsman=".len()..].chars().next().unwrap();
        first_digits[digit.to_digit(16).unwrap() as usize][usize::from(answer.group() == Some("green"))] = true;
    }
    // Were the verdict in it, or the id itself the position, a digit would belong to one group.
    assert!(first_digits.iter().filter(|both| **both == [true, true]).count() >= 12, "{first_digits:?}");
}

#[tokio::test]
async fn the_name_of_the_cookie_and_always_are_the_files_to_choose() {
    let (_blue, _green, proxy) = divided("affinity: { cookie: track, always: true }").await;
    let mut client = proxy.client().await;
    let whole = client.get("/").await;
    let cookie = cookie_set(&whole).unwrap().to_owned();
    assert!(cookie.starts_with("track="), "{cookie}");
    assert_eq!(cookie_set(&client.get_with("/", &[("cookie", &cookie)]).await), None);
    assert!(cookie_set(&client.get_with("/", &[("cookie", "pointsman=0123456789abcdef")]).await).is_some());
}

#[tokio::test]
async fn a_client_that_came_by_tls_gets_a_secure_cookie() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "split: { blue: 50, green: 50 }");
    let config = config.replace("@web@\" }", "@web@\", trusted_proxies: [127.0.0.0/8] }");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.client().await;
    let secure = client.get_with("/", &[("x-forwarded-proto", "https")]).await;
    assert!(secure.header("set-cookie").unwrap().contains("; Secure"), "{:?}", secure.fields);
    let plain = client.get_with("/", &[("x-forwarded-proto", "http")]).await;
    assert!(!plain.header("set-cookie").unwrap().contains("Secure"), "{:?}", plain.fields);
}

#[tokio::test]
async fn the_same_cookie_leads_to_the_same_group_over_any_connection_and_after_a_restart() {
    let (_blue, _green, mut proxy) = divided("split: { blue: 50, green: 50 }").await;
    let mut client = proxy.client().await;
    let mut visitors = Vec::new();
    for _ in 0..60 {
        let answer = client.get("/").await;
        visitors.push((cookie_set(&answer).unwrap().to_owned(), answer.group().unwrap().to_owned()));
    }
    assert!(["blue", "green"].iter().all(|g| visitors.iter().any(|(_, group)| group == g)), "{visitors:?}");
    for round in ["over the same connection", "over another one", "after a restart"] {
        for (cookie, expected) in &visitors {
            assert_eq!(group(&mut client, &[("cookie", cookie)]).await, *expected, "{cookie} {round}");
        }
        if round == "over another one" {
            proxy.kill().await;
            proxy.restart().await;
        }
        client = proxy.client().await;
    }
    let h2 = H2Client::connect(proxy.address("web")).await;
    for (cookie, expected) in &visitors {
        // HTTP/2 clients may cut the cookies into lines.
        let answer = h2.request("GET", "/", &[("cookie", "a=b"), ("cookie", cookie)], b"").await.unwrap();
        assert_eq!(answer.group(), Some(expected.as_str()));
        assert_eq!(cookie_set(&answer), None);
    }
}

#[tokio::test]
async fn while_green_grows_nobody_who_has_reached_it_falls_back_and_a_rollback_moves_everybody() {
    let (_blue, _green, proxy) = divided("").await;
    let mut before = Vec::new();
    for share in [10.0, 25.0, 50.0, 100.0] {
        shift(&proxy, "green", share).await;
        let now = members(&proxy, "cookie", "pointsman=visitor", 400, "green").await;
        assert!(before.iter().all(|id| now.contains(id)), "at {share} %: {before:?} then {now:?}");
        // Five standard deviations for 400 visitors are 12.5 % at the most.
        let off = now.len() as f64 / 4.0 - share;
        assert!(off.abs() <= 12.5, "{} of 400 at {share} %", now.len());
        before = now;
    }
    assert_eq!(before.len(), 400);
    shift(&proxy, "green", 50.0).await;
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    let stable = proxy.service("shop").await["stable_split"].clone();
    assert_eq!(stable, json!({"blue": 0, "green": 100}), "green had everything when the last change began");
    assert_eq!(members(&proxy, "cookie", "pointsman=visitor", 400, "blue").await, Vec::<usize>::new());
}

#[tokio::test]
async fn a_rollback_from_a_canary_moves_every_one_of_its_visitors_at_once() {
    let (_blue, green, proxy) = divided("").await;
    shift(&proxy, "green", 25.0).await;
    let canaries = members(&proxy, "cookie", "pointsman=visitor", 200, "green").await;
    assert!(!canaries.is_empty());
    let at_green = green.requests();
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    assert_eq!(members(&proxy, "cookie", "pointsman=visitor", 200, "blue").await.len(), 200);
    assert_eq!(green.requests(), at_green);
    // And forward again: the same ones come first.
    shift(&proxy, "green", 25.0).await;
    assert_eq!(members(&proxy, "cookie", "pointsman=visitor", 200, "green").await, canaries);
}

#[tokio::test]
async fn no_cookie_is_set_on_what_a_shared_cache_may_keep() {
    let cacheable = [
        ("/public", "cache-control", "public"),
        ("/age", "cache-control", "max-age=60"),
        ("/shared", "cache-control", "s-maxage=1"),
        ("/words", "cache-control", "must-revalidate, Max-Age=\"5\""),
        ("/expires", "expires", "Thu, 01 Dec 2044 16:00:00 GMT"),
    ];
    let private = [
        ("/private", "cache-control", "private, max-age=60"),
        ("/none", "cache-control", "no-store"),
        ("/stale", "cache-control", "max-age=0"),
        ("/nothing", "x-none", "1"),
    ];
    let script = move |head: &crate::support::wire::Head| {
        let all = cacheable.iter().chain(&private);
        let (_, name, value) = all.into_iter().find(|(path, ..)| *path == head.path()).unwrap();
        Answer::With(vec![((*name).to_owned(), (*value).to_owned())], b"body".to_vec())
    };
    let (blue, green) = (Upstream::scripted("blue", script), Upstream::scripted("green", script));
    let proxy = Proxy::blue_green(&blue, &green, "split: { blue: 50, green: 50 }\naffinity: { cookie: other }").await;
    let mut client = proxy.client().await;
    for (paths, expected) in [(&cacheable[..], false), (&private, true)] {
        for (path, name, value) in paths {
            let answer = client.get(path).await.expect(200);
            assert_eq!(answer.header(name), Some(*value));
            assert_eq!(cookie_set(&answer).is_some(), expected, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn an_applications_own_cookies_stay_beside_ours() {
    let own = || Answer::With(vec![("set-cookie".to_owned(), "session=1; Path=/".to_owned())], b"body".to_vec());
    let (blue, green) = (Upstream::scripted("blue", move |_| own()), Upstream::scripted("green", move |_| own()));
    let proxy = Proxy::blue_green(&blue, &green, "split: { blue: 50, green: 50 }").await;
    let answer = proxy.client().await.get("/").await.expect(200);
    let lines: Vec<_> = answer.fields.all("set-cookie").collect();
    assert!(lines.len() == 2 && lines[0] == "session=1; Path=/" && lines[1].starts_with("pointsman="), "{lines:?}");
}

#[tokio::test]
async fn an_unknown_an_empty_and_an_absurd_id_are_no_errors() {
    let (_blue, _green, proxy) = divided("split: { blue: 50, green: 50 }").await;
    let mut client: Client = proxy.client().await;
    let absurd = format!("pointsman={}", "x".repeat(5000));
    for (cookie, new) in [
        ("pointsman=", true),
        (absurd.as_str(), true),
        ("pointsman", true),
        (";;=;pointsman", true),
        ("Pointsman=x", true),
        ("pointsman=not-one-of-ours", false),
        ("pointsman=\"quoted\"", false),
        ("a=\u{e9}; pointsman=behind-bytes", false),
    ] {
        let answer = client.get_with("/", &[("cookie", cookie)]).await.expect(200);
        assert_eq!(cookie_set(&answer).is_some(), new, "{cookie:.40}");
    }
}
