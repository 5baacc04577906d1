//! Retries are paid for, so that they cannot double the load on what is failing.

use std::time::Instant;

use super::{attempts, config, counted, down, quoted};
use crate::support::{Proxy, Upstream};

const TO_BLUE: &str = "rules: [ { when: { header: { x-to: blue } }, group: blue } ]";

async fn start(retries: &str) -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let groups = [("blue", &[quoted(&blue.url())][..]), ("green", &[quoted(&green.url())])];
    let extra = ["split: { blue: 50, green: 50 }", TO_BLUE, retries];
    let proxy = Proxy::start(&config(&groups, &extra)).await;
    down(&blue).await;
    (blue, green, proxy)
}

#[tokio::test]
async fn when_the_budget_is_used_up_errors_are_passed_on() {
    let (_blue, green, proxy) = start("retries: { attempts: 2, budget: 0% }").await;
    let mut client = proxy.client().await;
    let started = Instant::now();
    let (mut saved, mut lost) = (0, 0);
    for _ in 0..200 {
        match client.get_with("/", &[("x-to", "blue")]).await.status {
            200 => saved += 1,
            502 => lost += 1,
            other => panic!("{other}"),
        }
    }
    // A reserve of ten a second, so that a quiet service has retries at all.
    let most = 10 * (started.elapsed().as_secs() as usize + 2);
    assert!((10..=most).contains(&saved) && lost > 0, "{saved} saved, {lost} lost, {most} allowed");
    assert_eq!(green.requests(), saved);
    assert_eq!(counted(&proxy, "pointsman_retries_total", &["group=\"blue\""]).await, saved as u64);
    assert_eq!(attempts(&proxy, "blue", "connect_failed").await, 200);
    assert_eq!(attempts(&proxy, "green", "ok").await, saved as u64);
}

#[tokio::test]
async fn a_full_budget_saves_every_request() {
    let (_blue, green, proxy) = start("retries: { attempts: 1, budget: 100% }").await;
    let mut client = proxy.client().await;
    for _ in 0..100 {
        client.get_with("/", &[("x-to", "blue")]).await.expect(200);
    }
    assert_eq!(green.requests(), 100);
}

#[tokio::test]
async fn without_further_attempts_there_is_one() {
    let (_blue, green, proxy) = start("retries: { attempts: 0, budget: 100% }").await;
    proxy.client().await.get_with("/", &[("x-to", "blue")]).await.expect(502);
    assert_eq!((green.requests(), attempts(&proxy, "blue", "connect_failed").await), (0, 1));
}
