//! Bytes from outside: whatever they are, they concern the one who sent them, and everybody else is served on.

mod answers;
mod corpus;
mod floods;
mod framing;
mod heads;
mod http2;
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::Proxy;

/// A client that goes about its business meanwhile, and must not notice anything.
struct Bystander {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Bystander {
    async fn start(proxy: &Proxy) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut client = proxy.client().await;
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&served));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Acquire) {
                client.get("/bystander").await.expect(200);
                count.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { stop, served, task }
    }

    /// It was served to the end, on one connection; and something was there to be disturbed.
    async fn was_served_throughout(self) {
        let before = self.served.load(Ordering::Acquire);
        crate::support::eventually("the bystander is served", || async {
            self.task.is_finished() || self.served.load(Ordering::Acquire) > before + 3
        })
        .await;
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap();
    }
}
