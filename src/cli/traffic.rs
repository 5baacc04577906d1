//! `switch`, `shift` and `rollback`: changes of traffic, each with its receipt in a line.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use http::Method;
use serde_json::json;

use super::Output;
use super::between::{Between, Health};
use super::client::{Client, segment};
use super::drain::{self, Place};
use super::hold::was_held;
use super::output::{duration, say, say_json, split};
use crate::admin::wire::{Group, Receipt, Service, ServiceReceipt, Services};
use crate::model::period;

/// What `switch` is told.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct SwitchArgs {
    /// One service, or several that move together: shop,api.
    #[arg(value_name = "SERVICES", required_unless_present = "all", conflicts_with = "all")]
    services: Option<String>,
    /// The group that gets everything.
    group: String,
    /// All services.
    #[arg(long)]
    all: bool,
    /// Also to a group that is not healthy.
    #[arg(long)]
    force: bool,
    /// Then drain the groups that it replaces: those under way may end.
    #[arg(long)]
    drain: bool,
    /// Wait until they have been drained; exit code 1 when something had to be left behind.
    #[arg(long, requires = "drain")]
    wait: bool,
    /// New requests wait for so long at the most, until those under way have ended; then the switch is made.
    #[arg(long, value_name = "DURATION")]
    hold: Option<String>,
    /// Everything behind this is a command that is run while new requests wait and nothing is under way (a migration):
    /// the switch is made when it succeeds. It knows POINTSMAN_SERVICE and POINTSMAN_TO.
    #[arg(long, value_name = "COMMAND", requires = "hold", num_args = 1.., allow_hyphen_values = true)]
    run: Vec<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What `shift` is told.
#[derive(Debug, Args)]
pub struct ShiftArgs {
    /// The service.
    service: String,
    /// The group whose share is set.
    group: String,
    /// Its share in per cent.
    #[arg(long, value_name = "PERCENT")]
    to: f64,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What `rollback` is told.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// One service, or several that move together: shop,api.
    #[arg(value_name = "SERVICES", required_unless_present = "all", conflicts_with = "all")]
    services: Option<String>,
    /// All services.
    #[arg(long)]
    all: bool,
    /// Also to a stable group that is not healthy.
    #[arg(long)]
    force: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn switch(args: SwitchArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let services = named(args.services.as_deref(), client).await?;
    let mut body = json!({
        "services": services, "to": args.group, "force": args.force, "drain": args.drain, "reason": args.reason,
    });
    let receipt: Receipt = match (&args.hold, &args.run[..]) {
        (Some(hold), command @ [_, ..]) => {
            let health = if args.force { Health::Ignored } else { Health::Needed };
            let (to, reason) = (&args.group, args.reason.as_deref());
            let between = Between { services: &services, to, hold, command, reason, health };
            let switch = Box::pin(client.call(Method::POST, "/api/v1/switch", Some(&body)));
            Box::pin(between.run(client, switch)).await?
        }
        (Some(hold), []) => {
            body["hold"] = json!(hold);
            // What is no duration is refused by the other side, at once.
            let time = period::parse(hold).unwrap_or_default();
            client.call_slowly(Method::POST, "/api/v1/switch", Some(&body), time).await?
        }
        (None, _) => client.call(Method::POST, "/api/v1/switch", Some(&body)).await?,
    };
    if !args.wait || output == Output::Text {
        show(&receipt, Back::Rollback, output)?;
    }
    if args.wait { drained(&receipt, client, output).await } else { Ok(ExitCode::SUCCESS) }
}

/// Waits for the drains that a switch has begun, one after another. In JSON they stand within the receipt, as `drains`.
async fn drained(receipt: &Receipt, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let mut drains = Vec::new();
    for one in &receipt.services {
        let service: Service = client.get(&format!("/api/v1/services/{}", segment(&one.service))).await?;
        let lost = |name: &String| one.before.get(name).is_some_and(|s| s.0 > 0.0) && one.after[name].0 <= 0.0;
        let is_new = |(name, group): &(&String, &Group)| {
            group.draining.as_ref().is_some_and(|drain| drain.state == "draining" || lost(name))
        };
        for (group, _) in service.groups.iter().filter(is_new) {
            drains.push(drain::wait(&Place { service: &one.service, group, upstream: None }, client, output).await?);
        }
    }
    if output == Output::Json {
        let mut both = serde_json::to_value(receipt)?;
        both["drains"] = serde_json::to_value(&drains)?;
        say_json(&both)?;
    }
    let failed = drains.iter().map(drain::code).find(|code| *code != ExitCode::SUCCESS);
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

pub(super) async fn shift(args: ShiftArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("/api/v1/services/{}/shift", segment(&args.service));
    let body = json!({"group": args.group, "to": args.to, "reason": args.reason});
    let receipt: Receipt = client.call(Method::POST, &path, Some(&body)).await?;
    show(&receipt, Back::Rollback, output)
}

pub(super) async fn rollback(args: RollbackArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let services = named(args.services.as_deref(), client).await?;
    let body = json!({"services": services, "force": args.force, "reason": args.reason});
    let receipt: Receipt = client.call(Method::POST, "/api/v1/rollback", Some(&body)).await?;
    show(&receipt, Back::None, output)
}

/// The services that are named, or all of them.
pub(super) async fn named(list: Option<&str>, client: &Client) -> anyhow::Result<Vec<String>> {
    let services: Vec<String> = if let Some(list) = list {
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    } else {
        let all: Services = client.get("/api/v1/services").await?;
        all.services.into_iter().map(|service| service.name).collect()
    };
    if services.is_empty() {
        bail!("no service is named; write shop or shop,api");
    }
    Ok(services)
}

/// How the way back is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Back {
    Rollback,
    None,
}

fn show(receipt: &Receipt, back: Back, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => say_json(receipt),
        Output::Text => Ok(say(&text(receipt, back))?),
    }
}

fn text(receipt: &Receipt, back: Back) -> String {
    let end = end(receipt, back);
    match &receipt.services[..] {
        // One service fits a line with what is said about all of them.
        [only] => format!("{} · {end}\n", moved(only)),
        several => several.iter().map(moved).chain([end]).map(|line| line + "\n").collect(),
    }
}

/// `shop: green 100 (was blue 100)`.
fn moved(one: &ServiceReceipt) -> String {
    let (was, now) = (split(&one.before), split(&one.after));
    let how = if now == was { "already so".to_owned() } else { format!("was {was}") };
    format!("{}: {now} ({how})", one.service)
}

/// The version, how long it took, and the way back.
fn end(receipt: &Receipt, back: Back) -> String {
    let version = format!("version {}", receipt.version);
    if !receipt.changed {
        return format!("{version} · nothing changed");
    }
    let held = receipt.hold.map(|was| format!(" · {}", was_held(was))).unwrap_or_default();
    let took = duration(Some(receipt.ms)) + &held;
    let moved = receipt.services.iter().filter(|one| split(&one.before) != split(&one.after));
    let names: Vec<_> = moved.map(|one| one.service.as_str()).collect();
    if back == Back::None || names.is_empty() {
        return format!("{version} · {took}");
    }
    format!("{version} · {took} · back with: pointsman rollback {}", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::{Number, Shares};

    fn shares(blue: f64) -> Shares {
        [("blue".to_owned(), Number(blue)), ("green".to_owned(), Number(100.0 - blue))].into()
    }

    fn receipt(moves: &[(&str, f64, f64)]) -> Receipt {
        let service = |(name, before, after): &(&str, f64, f64)| ServiceReceipt {
            service: (*name).to_owned(),
            before: shares(*before),
            after: shares(*after),
            stable: shares(100.0),
        };
        Receipt {
            version: 13,
            changed: moves.iter().any(|(_, before, after)| (before - after).abs() > 0.0),
            services: moves.iter().map(service).collect(),
            ms: Number(4.2),
            event: Some(7),
            split: None,
            stable_split: None,
            hold: None,
        }
    }

    #[test]
    fn a_receipt_says_what_is_what_was_and_the_way_back() {
        let one = text(&receipt(&[("shop", 100.0, 0.0)]), Back::Rollback);
        assert_eq!(one, "shop: green 100 (was blue 100) · version 13 · 4.2 ms · back with: pointsman rollback shop\n");
        let two = text(&receipt(&[("shop", 100.0, 75.0), ("api", 100.0, 100.0)]), Back::Rollback);
        assert_eq!(
            two,
            "shop: blue 75, green 25 (was blue 100)\napi: blue 100 (already so)\n\
             version 13 · 4.2 ms · back with: pointsman rollback shop\n"
        );
    }

    #[test]
    fn a_receipt_for_nothing_says_so_and_a_rollback_offers_no_way_back() {
        let nothing = text(&receipt(&[("shop", 0.0, 0.0)]), Back::Rollback);
        assert_eq!(nothing, "shop: green 100 (already so) · version 13 · nothing changed\n");
        let back = text(&receipt(&[("shop", 0.0, 100.0)]), Back::None);
        assert_eq!(back, "shop: blue 100 (was green 100) · version 13 · 4.2 ms\n");
    }
}
