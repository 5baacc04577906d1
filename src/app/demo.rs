//! `pointsman demo`: two applications, the proxy, some load, and what to type next; nothing to install or write first.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::leaving::{self, Occasion};
use super::serving::Serving;
use super::signals::{Signals, Wish};
use super::source::FileSource;
use crate::cli::DemoArgs;
use crate::demo::app::{self, AppOptions};
use crate::demo::load::{self, LoadOptions};
use crate::demo::setup::{self, Setup};
use crate::routing::inherited::Inherited;

/// Runs the demonstration until Ctrl-C.
///
/// # Errors
/// A taken port, by its number and with what to type instead; anything else that keeps it from serving.
pub fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    setup::check_ports(args.port, args.admin_port)?;
    let place = Place::new()?;
    super::control_runtime()?.block_on(async {
        let (leave, leaving) = watch::channel(false);
        let mut applications = JoinSet::new();
        let blue = application(&mut applications, AppOptions::new("blue", "2.4.0"), leaving.clone()).await?;
        let green = application(&mut applications, AppOptions::new("green", "2.5.0"), leaving.clone()).await?;
        let state = place.folder.join("state.db");
        let program = program();
        let setup = Setup { port: args.port, admin_port: args.admin_port, blue, green, program, state };
        let source = FileSource::new(&place.write(&setup::config(&setup))?);
        let loaded = source.read()?;
        crate::telemetry::logging::init(&loaded.spec.telemetry.log)?;
        let mut signals = Signals::install()?;
        let mut serving = Serving::start(source, loaded, Inherited::default()).await?;
        // Another process would know nothing of the applications of this one.
        serving.admin.wishes.close();
        println!("{}", setup::banner(&setup));
        let visitors = LoadOptions::new(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)));
        let tally = {
            let stop = async { while matches!(signals.next(serving.joiner.failed()).await, Wish::Reload) {} };
            load::run(visitors, |line| println!("{line}"), stop).await
        };
        println!("\n{} visits, {} failed. Stopping.", tally.total(), tally.failed);
        let code = leaving::leave(serving, Occasion::Told, signals).await;
        leave.send_replace(true);
        while applications.join_next().await.is_some() {}
        Ok(code)
    })
}

/// What to type to run this very program again: a short path where it lies below the current folder.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| "pointsman".into());
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(&path);
    shown(path)
}

/// Starts an application on a port of the system's choice.
async fn application(
    tasks: &mut JoinSet<()>,
    options: AppOptions,
    mut leaving: watch::Receiver<bool>,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for an example application")?;
    let address = listener.local_addr()?;
    tasks.spawn(app::serve(listener, options, async move {
        // A sender that is gone means the same.
        let _ = leaving.wait_for(|leave| *leave).await;
    }));
    Ok(address)
}

/// A folder of its own that goes away with the demonstration.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let name = format!("pointsman-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    fn write(&self, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("pointsman.yaml");
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", shown(&path)))?;
        Ok(path)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files; the system cleans it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
