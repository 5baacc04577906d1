//! What the journal promises when the store fails or hangs.

use std::sync::{Condvar, mpsc};

use serde_json::json;

use super::*;
use crate::control::samples::eventually;
use crate::model::change::samples::{after, begun, shop, started, switch};
use crate::model::rollout::State;
use crate::store::sqlite::Sqlite;
use crate::store::{EventQuery, RolloutQuery, Stored, Verified};

/// A store that fails or hangs on command.
pub(in crate::control) struct Moody {
    inner: Sqlite,
    mood: Arc<Mood>,
}

#[derive(Default)]
pub(in crate::control) struct Mood {
    pub(in crate::control) fails: AtomicBool,
    hangs: Mutex<bool>,
    goes_on: Condvar,
}

impl Mood {
    pub(in crate::control) fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.goes_on.notify_all();
    }

    fn felt(&self) -> Result<(), StoreError> {
        let mut hangs = self.hangs.lock().unwrap();
        while *hangs {
            hangs = self.goes_on.wait(hangs).unwrap();
        }
        if self.fails.load(Ordering::SeqCst) { Err(StoreError::Failed { what: "disk full".into() }) } else { Ok(()) }
    }
}

impl Moody {
    pub(in crate::control) fn pair() -> (Box<dyn Store>, Arc<Mood>) {
        let mood = Arc::<Mood>::default();
        (Box::new(Self { inner: Sqlite::in_memory().unwrap(), mood: Arc::clone(&mood) }), mood)
    }
}

impl Store for Moody {
    fn load(&mut self) -> Result<Stored, StoreError> {
        self.inner.load()
    }
    fn commit(&mut self, batch: &Batch) -> Result<Vec<Event>, StoreError> {
        self.mood.felt()?;
        self.inner.commit(batch)
    }
    fn receipt(&mut self, key: &str) -> Result<Option<KeptReceipt>, StoreError> {
        self.inner.receipt(key)
    }
    fn events(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.events(query)
    }
    fn last_event(&mut self, service: &str, kinds: &[&str]) -> Result<Option<Event>, StoreError> {
        self.inner.last_event(service, kinds)
    }
    fn rollouts(&mut self, query: &RolloutQuery) -> Result<Vec<RolloutRow>, StoreError> {
        self.inner.rollouts(query)
    }
    fn rollout(&mut self, id: u64) -> Result<Option<RolloutRow>, StoreError> {
        self.inner.rollout(id)
    }
    fn verify(&mut self) -> Result<Verified, StoreError> {
        self.inner.verify()
    }
}

fn event(kind: &str) -> NewEvent {
    NewEvent { at: Timestamp::now(), actor: "ops".into(), kind: kind.into(), service: None, detail: json!({}) }
}

fn batch(old: &Desired, new: &Desired, kind: &str) -> Batch {
    let receipt =
        KeptReceipt { key: kind.into(), fingerprint: String::new(), receipt: json!({}), at: Timestamp::now() };
    Batch { events: vec![event(kind)], receipts: vec![receipt], ..Batch::between(old, new) }
}

fn journal() -> (Journal, SharedStore, Arc<Mood>) {
    let (store, mood) = Moody::pair();
    let store: SharedStore = Arc::new(Mutex::new(store));
    (Journal::new(Arc::clone(&store), 0, 0, Arc::default()), store, mood)
}

fn stored(store: &SharedStore) -> (Desired, Vec<String>) {
    let mut store = locked(store);
    let events = store.events(&EventQuery { since: 0, limit: 100, service: None }).unwrap();
    (store.load().unwrap().desired, events.into_iter().map(|e| e.line.kind).collect())
}

const SHORT: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_store_that_somebody_reads_for_too_long_is_not_parted_with_later_either() {
    let (mut journal, store, _mood) = journal();
    journal.note(&started("blue 100 green 0"), vec![event("one")]).await;
    let reading = occupied(&store);
    assert!(journal.part("given away", SHORT).await.is_err());
    drop(reading);
    eventually("whoever came too late has had their turn", || Arc::strong_count(&store) == 2).await;
    assert!(locked(&store).verify().is_ok());
    journal.part("given away", Duration::from_secs(5)).await.unwrap();
    assert!(locked(&store).verify().is_err());
    let (reading, (back, _)) = (occupied(&store), Moody::pair());
    assert!(journal.exchange(back, SHORT).await.is_err());
    drop(reading);
    eventually("it is used as soon as it can be", || locked(&store).verify().is_ok()).await;
    assert_eq!(journal.numbered(&[event("two")])[0].id, 2, "it has forgotten where it was");
}

/// Somebody uses the store until this is dropped.
fn occupied(store: &SharedStore) -> mpsc::Sender<()> {
    let ((let_go, until), (begun, is_used), store) = (mpsc::channel(), mpsc::channel(), Arc::clone(store));
    std::thread::spawn(move || {
        let using = locked(&store);
        begun.send(()).unwrap();
        let _ = until.recv();
        drop(using);
    });
    is_used.recv().unwrap();
    let_go
}

#[tokio::test]
async fn what_is_refused_leaves_no_trace_and_what_is_kept_is_written_later() {
    let (mut journal, store, mood) = journal();
    let old = started("blue 100 green 0");
    journal.write(&old, Batch::whole(&old), PATIENCE, Otherwise::Refuse).await.unwrap();
    let new = after(&old, &[switch("green")]);
    mood.fails.store(true, Ordering::SeqCst);
    let refused = journal.write(&old, batch(&old, &new, "switch"), PATIENCE, Otherwise::Refuse).await;
    assert_eq!(refused.unwrap_err(), "disk full");
    assert_eq!(journal.numbered(&[event("x")])[0].id, 1);
    journal.write(&old, batch(&old, &new, "rollback"), PATIENCE, Otherwise::Keep).await.unwrap_err();
    assert_eq!(journal.numbered(&[event("x")])[0].id, 2);
    assert!(
        journal.receipt(&new, "rollback", PATIENCE).await.unwrap().is_some(),
        "a kept receipt is found before it is written"
    );
    assert_eq!(journal.trouble().borrow().as_deref(), Some("disk full"));
    mood.fails.store(false, Ordering::SeqCst);
    assert!(journal.retry_at().is_some());
    journal.retry(&new).await;
    assert_eq!(stored(&store), (new, vec!["rollback".to_owned()]));
    assert_eq!((journal.retry_at(), journal.trouble().borrow().clone()), (None, None));
}

#[tokio::test]
async fn a_refused_write_that_becomes_durable_late_is_taken_back() {
    let (mut journal, store, mood) = journal();
    let old = started("blue 100 green 0");
    journal.write(&old, Batch::whole(&old), PATIENCE, Otherwise::Refuse).await.unwrap();
    let new = after(&old, &[switch("green")]);
    mood.hang(true);
    journal.write(&old, batch(&old, &new, "switch"), SHORT, Otherwise::Refuse).await.unwrap_err();
    let busy = journal.write(&old, batch(&old, &new, "other"), SHORT, Otherwise::Refuse).await.unwrap_err();
    assert!(busy.contains("busy"), "{busy}");
    journal.note(&old, vec![event("health")]).await;
    mood.hang(false);
    eventually("the late write has landed", || stored(&store).1 == ["switch"]).await;
    eventually("the late write is over", || journal.late.as_ref().is_none_or(|l| l.task.is_finished())).await;
    journal.retry(&old).await;
    assert_eq!(shop(&stored(&store).0).split, shop(&old).split);
    assert_eq!(stored(&store).1, ["switch", "store.corrected", "health"]);
    assert!(
        journal.receipt(&old, "switch", PATIENCE).await.unwrap().is_none(),
        "the receipt of what was taken back does not hold"
    );
}

#[tokio::test]
async fn a_refused_rollout_that_becomes_durable_late_is_not_under_way_after_a_restart() {
    let (mut journal, store, mood) = journal();
    let old = started("blue 100 green 0");
    journal.write(&old, Batch::whole(&old), PATIENCE, Otherwise::Refuse).await.unwrap();
    let number = journal.next_rollout(&old);
    let new = begun(&old, number);
    mood.hang(true);
    journal.write(&old, batch(&old, &new, "rollout.start"), SHORT, Otherwise::Refuse).await.unwrap_err();
    assert!(journal.next_rollout(&old) > number, "the next one has a number of its own");
    mood.hang(false);
    eventually("the late write has landed", || stored(&store).1 == ["rollout.start"]).await;
    assert!(stored(&store).0.rollouts.contains_key(&number), "it is the phantom that this is about");
    eventually("the late write is over", || journal.late.as_ref().is_none_or(|l| l.task.is_finished())).await;
    journal.retry(&old).await;
    assert_eq!(stored(&store).0.rollouts, old.rollouts);
    let row = locked(&store).rollout(number.0).unwrap().unwrap();
    let rollout = row.read().unwrap();
    assert!(row.ended && rollout.state == State::Failed, "{rollout:?}");
    assert!(rollout.timeline.last().unwrap().cause.contains("refused"), "{rollout:?}");
}

#[tokio::test]
async fn a_kept_write_that_becomes_durable_late_is_not_written_twice() {
    let (mut journal, store, mood) = journal();
    let old = started("blue 100 green 0");
    let new = after(&old, &[switch("green")]);
    mood.hang(true);
    journal.write(&old, batch(&old, &new, "rollback"), SHORT, Otherwise::Keep).await.unwrap_err();
    mood.hang(false);
    eventually("the late write is over", || journal.late.as_ref().is_none_or(|l| l.task.is_finished())).await;
    journal.note(&new, vec![event("health")]).await;
    assert_eq!(stored(&store), (new, vec!["rollback".to_owned(), "health".to_owned()]));
}

#[tokio::test]
async fn a_change_waits_for_an_earlier_write_that_is_slow_and_what_is_kept_does_not() {
    let (mut journal, store, mood) = journal();
    let old = started("blue 100 green 0");
    let new = after(&old, &[switch("green")]);
    mood.hang(true);
    journal.note(&old, vec![event("health")]).await;
    let asked = Instant::now();
    journal.note(&old, vec![event("start")]).await;
    assert!(asked.elapsed() < PATIENCE / 2, "an event held up the next command");
    let change = batch(&old, &new, "switch");
    // Polled in this order: the change waits before the store goes on.
    let (written, ()) =
        tokio::join!(journal.write(&old, change, 20 * PATIENCE, Otherwise::Refuse), async { mood.hang(false) });
    written.unwrap();
    assert_eq!(stored(&store).1, ["health", "start", "switch"]);
}

#[tokio::test]
async fn events_that_cannot_be_written_are_bounded() {
    let (mut journal, _, mood) = journal();
    mood.fails.store(true, Ordering::SeqCst);
    for _ in 0..2 * MOST_UNWRITTEN {
        journal.note(&Desired::default(), vec![event("health")]).await;
    }
    assert_eq!(journal.unwritten.events.len(), MOST_UNWRITTEN);
}
