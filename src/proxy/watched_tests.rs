//! What a group that is watched promises, through published tables and over real connections: who counts, who leaves
//! it when it cannot be reached, and who hears of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::samples::{self, Plane, eventually, group, head_of, in_time};
use crate::config::spec::Retries;
use crate::model::histogram;
use crate::model::split::Share;
use crate::routing::hold::{Hold, HoldTotals, Room};
use crate::routing::live::{GroupLive, Tally, UpstreamLive};
use crate::routing::table::Service;

/// Blue is well; green is the candidate, and nobody listens there.
struct Shop {
    plane: Plane,
    blue: (Arc<GroupLive>, [Arc<UpstreamLive>; 1]),
    green: (Arc<GroupLive>, [Arc<UpstreamLive>; 1]),
    _blue: JoinSet<()>,
}

/// Green's fuse in these tests.
const FUSE: u32 = 3;

impl Shop {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let well = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener));
        let live = |id, address| (Arc::new(GroupLive::new(1)), [samples::upstream(id, address)]);
        Self { plane: Plane::new(0).await, blue: live(1, well), green: live(2, nobody().await), _blue: tasks }
    }

    /// Where so much of a hundred goes to green, and all may be sent twice again, in the other group too.
    fn service(&self, green: u32, fuse: Option<u32>) -> Service {
        let mut service = samples::service(&self.blue.0, &self.blue.1, Duration::ZERO);
        service.groups.push(group("green", &self.green.0, &self.green.1));
        service.groups[1].fuse = fuse;
        service.shares = vec![(100 - green) * 10_000, green * 10_000];
        service.candidate = Some(1);
        service.retries = Retries { attempts: 2, budget: Share::from_percent(20.0).unwrap(), across_groups: true };
        service
    }

    fn attempts(&self) -> [(u64, u64); 2] {
        [&self.blue, &self.green].map(|(live, _)| {
            let Tally { attempts, failures, .. } = live.tally();
            (attempts, failures)
        })
    }
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Answers everything with 200.
async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let mut stream = listener.accept().await.unwrap().0;
        connections.spawn(async move {
            let mut head = Vec::new();
            while stream.readable().await.is_ok() {
                let mut piece = [0; 4096];
                match stream.try_read(&mut piece) {
                    Ok(0) => return,
                    Ok(read) => head.extend_from_slice(&piece[..read]),
                    Err(_) => continue,
                }
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            }
        });
    }
}

/// The status of an answer without a body, or with one that ends the connection's use.
async fn ask(client: &mut TcpStream) -> u16 {
    client.write_all(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    head_of(client).await[9..12].parse().unwrap()
}

/// Asks so often on one connection, and wants this each time.
async fn ask_for(client: &mut TcpStream, times: usize, status: u16) {
    for _ in 0..times {
        assert_eq!(ask(client).await, status);
    }
}

#[tokio::test]
async fn users_leave_a_group_that_cannot_be_reached_for_one_that_can_and_see_nothing_of_it() {
    let mut shop = Shop::new().await;
    shop.plane.publish_service(shop.service(50, Some(FUSE)));
    let mut client = shop.plane.connect().await;
    ask_for(&mut client, 60, 200).await;
    let blown = u64::from(FUSE);
    // Each attempt counts where it was made, and only so many were made at green.
    eventually("all attempts have ended", || shop.attempts() == [(60, 0), (blown, blown)]).await;
    assert_eq!(shop.green.0.connect_failures(), FUSE);
    // Nobody comes back before the control plane says so.
    shop.green.0.reset_fuse();
    ask_for(&mut client, 60, 200).await;
    eventually("the fuse blows again", || shop.attempts() == [(120, 0), (2 * blown, 2 * blown)]).await;
}

#[tokio::test]
async fn of_many_users_at_once_none_sees_a_failure_and_only_those_under_way_are_added_to_the_row() {
    const USERS: u64 = 40;
    let mut shop = Shop::new().await;
    shop.plane.publish_service(Service { emergency: Some(0), ..shop.service(100, Some(FUSE)) });
    let mut users = JoinSet::new();
    for _ in 0..USERS {
        let mut client = shop.plane.connect().await;
        users.spawn(async move { ask_for(&mut client, 10, 200).await });
    }
    users.join_all().await;
    eventually("all attempts have ended", || shop.attempts()[0] == (10 * USERS, 0)).await;
    // One of each user may have been under way.
    let (attempts, failures) = shop.attempts()[1];
    assert!((u64::from(FUSE)..=u64::from(FUSE) + USERS).contains(&attempts), "{attempts}");
    assert_eq!((failures, shop.green.0.connect_failures().into()), (attempts, attempts));
}

#[tokio::test]
async fn where_a_candidate_has_all_users_they_go_to_the_group_that_stands_in() {
    let mut shop = Shop::new().await;
    shop.plane.publish_service(Service { emergency: Some(0), ..shop.service(100, Some(FUSE)) });
    ask_for(&mut shop.plane.connect().await, 30, 200).await;
    eventually("no more than that", || shop.attempts() == [(30, 0), (3, 3)]).await;
    // Where nobody stands in there is nobody; but nobody waits for a dead one.
    shop.green.0.reset_fuse();
    shop.plane.publish_service(shop.service(100, Some(FUSE)));
    let mut client = shop.plane.connect().await;
    ask_for(&mut client, FUSE as usize, 502).await;
    ask_for(&mut client, 10, 503).await;
    assert_eq!(shop.attempts()[1], (6, 6));
}

#[tokio::test]
async fn a_retry_away_from_a_group_that_cannot_be_reached_needs_no_token() {
    let mut shop = Shop::new().await;
    let mut service = shop.service(50, Some(1));
    service.retries.budget = Share::from_percent(0.0).unwrap();
    shop.plane.publish_service(service);
    let green = shop.green.0.slot(0);
    while green.retry_tokens.withdraw() {}
    ask_for(&mut shop.plane.connect().await, 20, 200).await;
    eventually("one was moved", || shop.attempts() == [(20, 0), (1, 1)]).await;
}

#[tokio::test]
async fn who_validates_comes_to_a_group_that_users_have_left_and_does_not_count() {
    let mut shop = Shop::new().await;
    shop.plane.publish_service(shop.service(50, Some(FUSE)));
    let mut validator = shop.plane.connect_to_validate().await;
    ask_for(&mut validator, 10, 502).await;
    assert_eq!((shop.green.0.tally(), shop.green.0.connect_failures()), (GroupLive::new(1).tally(), 0));
    ask_for(&mut shop.plane.connect().await, 60, 200).await;
    assert_eq!(shop.green.0.connect_failures(), FUSE);
    // It gets its answer from there, and that does not bring users back.
    let revived = TcpListener::bind(shop.green.1[0].endpoint.url.strip_prefix("http://").unwrap()).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(revived));
    ask_for(&mut validator, 10, 200).await;
    ask_for(&mut shop.plane.connect().await, 20, 200).await;
    eventually("all users are at blue", || shop.attempts() == [(80, 0), (3, 3)]).await;
    assert!(shop.green.0.fuse().has_blown());
}

#[tokio::test]
async fn who_gets_through_ends_the_row() {
    let mut shop = Shop::new().await;
    let two = [Arc::clone(&shop.green.1[0]), Arc::clone(&shop.blue.1[0])];
    let mut service = shop.service(100, Some(2));
    service.groups[1] = crate::routing::table::Group { fuse: Some(2), ..group("green", &shop.green.0, &two) };
    shop.plane.publish_service(service);
    // In turn: one of its upstreams is dead, the other is well.
    ask_for(&mut shop.plane.connect().await, 20, 200).await;
    eventually("all attempts have ended", || shop.attempts()[1] == (30, 10)).await;
    assert!(!shop.green.0.fuse().has_blown());
}

#[tokio::test]
async fn the_control_plane_hears_at_once_of_a_failure_at_a_watched_group_and_of_no_other() {
    let mut shop = Shop::new().await;
    let service = |shop: &Shop, fuse| Service { emergency: Some(0), ..shop.service(100, fuse) };
    shop.plane.publish_service(service(&shop, None));
    let mut client = shop.plane.connect().await;
    ask_for(&mut client, 5, 200).await;
    assert_eq!(shop.green.0.connect_failures(), 5);
    let mut rung = Box::pin(shop.green.0.bell().rung());
    let polled = std::future::poll_fn(|cx| Poll::Ready(rung.as_mut().poll(cx))).await;
    assert_eq!(polled, Poll::Pending);
    shop.green.0.reset_fuse();
    shop.plane.publish_service(service(&shop, Some(FUSE)));
    // Waits on another runtime than the worker's.
    let ((), ()) = tokio::join!(in_time(rung), ask_for(&mut client, 10, 200));
    assert_eq!(shop.green.0.connect_failures(), FUSE);
}

#[tokio::test]
async fn an_attempts_time_begins_when_the_request_has_waited() {
    let mut shop = Shop::new().await;
    let (until, room) = (tokio::time::Instant::now() + Duration::from_secs(60), Room { requests: 1, bytes: 1 << 20 });
    let hold = Arc::new(Hold::new(until, room, Arc::<HoldTotals>::default()));
    shop.plane.publish_service(Service { hold: Some(Arc::clone(&hold)), ..shop.service(0, None) });
    let mut client = shop.plane.connect().await;
    client.write_all(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("it is held", || hold.waiting() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    shop.plane.publish_service(shop.service(0, None));
    let let_go = Instant::now();
    hold.end();
    assert!(head_of(&mut client).await.starts_with("HTTP/1.1 200 "));
    let most = let_go.elapsed().as_micros() as u64;
    let counted = shop.blue.0.tally().durations.iter().position(|n| *n > 0).unwrap();
    assert!(counted <= histogram::bucket(most), "{counted} for {most} microseconds at the most");
    let request = shop.blue.0.totals().durations.iter().position(|n| *n > 0).unwrap();
    assert!(request >= histogram::bucket(300_000), "the request itself has waited");
}
