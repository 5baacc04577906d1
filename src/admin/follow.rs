//! Events as they happen (server-sent events, WHATWG HTML section 9.2), without a gap.
//!
//! Each stream has one task, owned by the response's body: it ends when the client is gone, when the port closes, or
//! when the client does not take what is sent. A receiver that was too slow for the broadcast reads what it has missed
//! from the audit log, so the numbers that a client sees have no holes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::server::until_closed;
use super::wire;
use crate::control::handle::Handle;
use crate::control::view::Event;

/// Lines that may wait for a client.
const QUEUE: usize = 64;
/// A client that takes nothing for so long is given up; it can resume.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Between signs of life, so that proxies on the way keep the connection.
const BEAT: Duration = Duration::from_secs(15);
/// Events read from the audit log at a time.
const PAGE: usize = 500;

/// A response body made of lines from a queue; its task ends with it.
#[derive(Debug)]
pub(super) struct Lines {
    queue: mpsc::Receiver<Bytes>,
    task: Option<JoinHandle<()>>,
}

impl Lines {
    pub(super) fn new(queue: mpsc::Receiver<Bytes>, task: Option<JoinHandle<()>>) -> Self {
        Self { queue, task }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.queue.poll_recv(cx).map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// All events after number `since`, or from now on, of one service where one is named.
pub(super) fn lines(
    handle: Handle,
    since: Option<u64>,
    service: Option<String>,
    mut closing: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> Lines {
    // Before anything is read, so that nothing can fall between the log and the broadcast.
    let live = handle.subscribe();
    let (out, queue) = mpsc::channel(QUEUE);
    let follower = Follower { handle, service, sent: Sent::new(since), out: out.clone() };
    let task = tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = follower.run(live) => {}
            () = out.closed() => {}
            () = until_closed(&mut closing) => {}
        }
    });
    Lines::new(queue, Some(task))
}

/// Why a stream ends: the client is gone or too slow, or the log cannot be read.
#[derive(Debug)]
struct Ended;

struct Follower {
    handle: Handle,
    service: Option<String>,
    sent: Sent,
    out: mpsc::Sender<Bytes>,
}

impl Follower {
    async fn run(mut self, live: broadcast::Receiver<Event>) {
        let Err(Ended) = self.follow(live).await;
    }

    async fn follow(&mut self, mut live: broadcast::Receiver<Event>) -> Result<std::convert::Infallible, Ended> {
        self.write("retry: 1000\n\n".to_owned()).await?;
        if self.sent.last.is_some() {
            self.catch_up().await?;
        }
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = live.recv() => match received {
                    Ok(event) => self.take(event).await?,
                    Err(RecvError::Lagged(missed)) => self.sent.missed += missed,
                    Err(RecvError::Closed) => return Err(Ended),
                },
                _ = beat.tick() => self.write(": still here\n\n".to_owned()).await?,
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Ended> {
        match self.sent.place_of(event.id) {
            Place::Before => return Ok(()),
            Place::Next => {}
            Place::AfterAGap => self.catch_up().await?,
        }
        if self.sent.last.is_some_and(|last| event.id <= last) {
            return Ok(());
        }
        self.sent.last = Some(event.id);
        if self.service.is_none() || self.service == event.service {
            self.write(line(event)).await?;
        }
        Ok(())
    }

    /// Sends what the audit log has after the last event sent.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        loop {
            let since = self.sent.last.unwrap_or(0);
            let page = match self.handle.events(since, PAGE, self.service.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "an event stream could not read the audit log");
                    return Err(Ended);
                }
            };
            let whole = page.len() == PAGE;
            for event in page {
                self.sent.last = Some(event.id);
                self.write(line(event)).await?;
            }
            if !whole {
                return Ok(());
            }
        }
    }

    async fn write(&self, text: String) -> Result<(), Ended> {
        match timeout(TAKEN_WITHIN, self.out.send(text.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }
}

/// Which events a client has.
#[derive(Debug)]
struct Sent {
    /// Number of the last one; none before the first where it asked for no earlier ones.
    last: Option<u64>,
    /// Events that the broadcast dropped before the first one was seen.
    missed: u64,
}

#[derive(Debug, PartialEq)]
enum Place {
    Before,
    Next,
    AfterAGap,
}

impl Sent {
    fn new(since: Option<u64>) -> Self {
        Self { last: since, missed: 0 }
    }

    fn place_of(&mut self, id: u64) -> Place {
        // Numbers have no gaps: what was dropped before the first event seen are the ones right before it.
        let last = *self.last.get_or_insert(id.saturating_sub(1 + self.missed));
        self.missed = 0;
        match id {
            id if id <= last => Place::Before,
            id if id == last + 1 => Place::Next,
            _ => Place::AfterAGap,
        }
    }
}

/// One event. JSON has no line breaks, so its text is one `data` line.
fn line(event: Event) -> String {
    let (id, kind) = (event.id, event.kind.replace(['\r', '\n'], " "));
    let json = serde_json::to_string(&wire::Event::from(event)).expect("an event is plain data with text keys");
    format!("id: {id}\nevent: {kind}\ndata: {json}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_from_now_on_begins_with_the_first_event_seen() {
        let mut sent = Sent::new(None);
        assert_eq!(sent.place_of(7), Place::Next);
        assert_eq!(sent.last, Some(6));
    }

    #[test]
    fn what_the_broadcast_dropped_is_a_gap_also_before_the_first_event_seen() {
        let mut sent = Sent { last: None, missed: 3 };
        assert_eq!(sent.place_of(7), Place::AfterAGap);
        assert_eq!(sent.last, Some(3));
    }

    #[test]
    fn an_event_that_the_log_had_already_is_not_sent_twice() {
        let mut sent = Sent::new(Some(7));
        assert_eq!(
            [sent.place_of(6), sent.place_of(7), sent.place_of(8), sent.place_of(10)],
            [Place::Before, Place::Before, Place::Next, Place::AfterAGap]
        );
    }

    #[test]
    fn an_event_is_an_id_a_name_and_one_line_of_json() {
        let event = Event {
            id: 3,
            at: "2026-11-05T10:00:00Z".parse().unwrap(),
            actor: "ops".into(),
            kind: "switch".into(),
            service: Some("shop".into()),
            detail: serde_json::json!({"reason": "a\nb"}),
        };
        let text = line(event);
        let (head, data) = text.split_once("\ndata: ").unwrap();
        assert_eq!(head, "id: 3\nevent: switch");
        let json: serde_json::Value = serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!((&json["actor"], &json["detail"]["reason"]), (&"ops".into(), &"a\nb".into()));
    }

    #[tokio::test]
    async fn dropping_the_body_ends_its_task() {
        let (out, queue) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let _kept = out;
            std::future::pending::<()>().await;
        });
        let watched = task.abort_handle();
        drop(Lines::new(queue, Some(task)));
        timeout(Duration::from_secs(5), async {
            while !watched.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
