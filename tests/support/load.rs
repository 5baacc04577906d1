//! Clients that ask without a pause until they are told to stop, and count what goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::client::Client;
use super::proxy::Proxy;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// A load under way. Its clients end with it.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    /// So many clients that ask for `/`, each over one connection that it keeps.
    pub fn start(proxy: &Proxy, clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let address = proxy.address(super::proxy::WEB);
        let mut load = Self { shared: Arc::clone(&shared), clients: JoinSet::new() };
        for _ in 0..clients {
            let shared = Arc::clone(&shared);
            load.clients.spawn(async move {
                let mut failures = Vec::new();
                let mut client = Client::connect(address).await;
                while !shared.stop.load(Ordering::Acquire) {
                    match client.try_request("GET", "/", &[], None).await {
                        Ok(answer) if answer.status == 200 && !answer.fields.lists("connection", "close") => {
                            shared.answered.fetch_add(1, Ordering::AcqRel);
                        }
                        Ok(answer) => failures.push(format!("{} {:?} {}", answer.status, answer.fields, answer.text())),
                        Err(error) => {
                            failures.push(error.to_string());
                            client = Client::connect(address).await;
                        }
                    }
                }
                failures
            });
        }
        load
    }

    /// Good answers so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Waits until `more` further good answers have come.
    pub async fn goes_on_for(&self, more: usize) {
        let enough = self.answered() + more;
        super::eventually("the load goes on", || async {
            let answered = self.answered();
            if answered >= enough { Ok(()) } else { Err(format!("{answered} of {enough} answers")) }
        })
        .await;
    }

    /// Stops; panics where a request failed or a connection was closed. Gives the number of good answers.
    pub async fn nothing_failed(self) -> usize {
        let (answered, failures) = self.stopped().await;
        let some = &failures[..failures.len().min(5)];
        assert!(failures.is_empty(), "{} requests failed: {some:#?}", failures.len());
        answered
    }

    /// Stops. Gives the number of good answers, and what went wrong.
    pub async fn stopped(mut self) -> (usize, Vec<String>) {
        self.shared.stop.store(true, Ordering::Release);
        let mut failures = Vec::new();
        while let Some(of_one) = self.clients.join_next().await {
            failures.extend(of_one.unwrap());
        }
        (self.answered(), failures)
    }
}
