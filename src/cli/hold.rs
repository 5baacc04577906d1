//! `hold` and `release`: new requests wait for a moment, and are let go.

use clap::Args;
use http::Method;
use serde_json::json;

use super::Output;
use super::client::{Client, segment};
use super::output::{duration, say, say_json, time};
use crate::admin::wire::{HoldReceipt, WasHeld};

/// What `hold` is told.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// The service.
    service: String,
    /// How long at the most, up to 10m; default: as long as the file says (10s). Then who waits gets 503.
    #[arg(long = "for", value_name = "DURATION")]
    time: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What `release` is told.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The service.
    service: String,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn hold(args: HoldArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let receipt = begin(client, &args.service, args.time.as_deref(), args.reason.as_deref()).await?;
    show(&receipt, output)
}

pub(super) async fn release(args: ReleaseArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let receipt = end(client, &args.service, args.reason.as_deref()).await?;
    show(&receipt, output)
}

/// Holds a service.
pub(super) async fn begin(
    client: &Client,
    service: &str,
    time: Option<&str>,
    reason: Option<&str>,
) -> anyhow::Result<HoldReceipt> {
    client.call(Method::POST, &path(service), Some(&json!({"for": time, "reason": reason}))).await
}

/// Lets go of a service.
pub(super) async fn end(client: &Client, service: &str, reason: Option<&str>) -> anyhow::Result<HoldReceipt> {
    client.call(Method::DELETE, &path(service), Some(&json!({"reason": reason}))).await
}

fn path(service: &str) -> String {
    format!("/api/v1/services/{}/hold", segment(service))
}

fn show(receipt: &HoldReceipt, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => say_json(receipt),
        Output::Text => Ok(say(&text(receipt))?),
    }
}

fn text(receipt: &HoldReceipt) -> String {
    let service = &receipt.service;
    match (receipt.until, receipt.held) {
        (Some(until), _) => {
            let until = time(until);
            format!(
                "{service}: new requests wait, until {until} at the most · let go with: pointsman release {service}\n"
            )
        }
        (None, Some(was)) => format!("{service}: released · {}\n", was_held(was)),
        (None, None) => format!("{service}: nobody was held · nothing changed\n"),
    }
}

/// `held for 1.25 s, 12 waited at the most`.
pub(super) fn was_held(was: WasHeld) -> String {
    format!("held for {}, {} waited at the most", duration(Some(was.ms)), was.waited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::Number;

    #[test]
    fn receipts_say_how_long_who_waited_and_what_to_type() {
        let none = HoldReceipt { version: 3, changed: false, service: "shop".to_owned(), until: None, held: None };
        let held = HoldReceipt { until: Some("2026-11-05T10:00:00Z".parse().unwrap()), ..none.clone() };
        let was = WasHeld { ms: Number(1250.0), waited: 12 };
        for (receipt, expected) in [
            (
                held,
                "shop: new requests wait, until 2026-11-05 10:00:00Z at the most · let go with: pointsman release shop\n",
            ),
            (
                HoldReceipt { held: Some(was), ..none.clone() },
                "shop: released · held for 1.25 s, 12 waited at the most\n",
            ),
            (none, "shop: nobody was held · nothing changed\n"),
        ] {
            assert_eq!(text(&receipt), expected);
        }
    }
}
