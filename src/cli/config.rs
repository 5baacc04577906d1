//! `config`, `reload`, `drift` and `export`: what is running, and how it stands to the file.

use http::Method;

use super::Output;
use super::client::Client;
use super::output::{plain, say, say_json, split};
use super::table::Table;
use crate::admin::wire::{Config, DriftReport, Reload};

pub(super) async fn show(client: &Client, output: Output) -> anyhow::Result<()> {
    let config: Config = client.get("/api/v1/config").await?;
    if output == Output::Json {
        return say_json(&config);
    }
    let mut listeners = Table::new(&["LISTENER", "ADDRESS", ">CONNECTIONS"]);
    for one in &config.listeners {
        listeners.row(vec![one.name.clone(), one.address.clone(), one.connections.to_string()]);
    }
    let mut services = Table::new(&["SERVICE", ">VERSION", "SPLIT", "ROLLBACK GOES TO", "GROUP", "UPSTREAMS"]);
    for one in &config.services {
        let mut head = vec![one.name.clone(), one.version.to_string(), split(&one.split), split(&one.stable_split)];
        for (group, urls) in &one.groups {
            head.extend([group.clone(), urls.join(" ")]);
            services.row(std::mem::replace(&mut head, vec![String::new(); 4]));
        }
    }
    Ok(say(&format!("version {}\n\n{}\n{}", config.version, listeners.text(), services.text()))?)
}

pub(super) async fn reload(client: &Client, output: Output) -> anyhow::Result<()> {
    let report: Reload = client.call(Method::POST, "/api/v1/config/reload", None).await?;
    if output == Output::Json {
        return say_json(&report);
    }
    let changes = report.changes.iter().map(|change| format!("{}\n", plain(change)));
    let kept = report.needs_restart.iter().map(|what| format!("{}: kept as it was, needs a restart\n", plain(what)));
    let text: String = changes.chain(kept).collect();
    let what = if report.changed { "reloaded" } else { "nothing changed" };
    Ok(say(&format!("{text}{what} · version {}\n", report.version))?)
}

pub(super) async fn drift(client: &Client, output: Output) -> anyhow::Result<()> {
    let report: DriftReport = client.get("/api/v1/config/drift").await?;
    if output == Output::Json {
        return say_json(&report);
    }
    let mut table = Table::new(&["WHAT", "IN THE FILE", "RUNNING", "WHY"]);
    for one in &report.differences {
        table.row([&one.what, &one.file, &one.running, &one.why].map(|cell| plain(cell)).into());
    }
    let text = if table.is_empty() { "the file and what is running are the same\n".to_owned() } else { table.text() };
    Ok(say(&text)?)
}

pub(super) async fn export(client: &Client) -> anyhow::Result<()> {
    let text = client.text("/api/v1/config?format=yaml").await?;
    Ok(say(&text)?)
}
