//! What tunnels promise when they are told to end, through published tables and over real connections; and over any
//! bytes, cut anywhere, at any moment.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;

use super::*;
use crate::proxy::samples::{self, Plane, RESTART, at_once, eventually, frame, in_time, parsed, switch};
use crate::proxy::tunnels::{Berth, Tunnels};
use crate::routing::live::GroupLive;
use crate::routing::publish::Snapshot;
use crate::routing::table::Farewell;

const KEY: Option<[u8; 4]> = Some([0x11, 0x82, 0x33, 0xf4]);
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    in_time(stream.write_all(bytes)).await.unwrap();
}

async fn receive(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    in_time(stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, bytes);
}

/// The next frame and nothing more.
async fn next_frame(stream: &mut TcpStream) -> samples::Parsed {
    let mut got = Vec::new();
    loop {
        got.push(in_time(stream.read_u8()).await.unwrap());
        if let Some(frame) = parsed(&got).0.pop() {
            return frame;
        }
    }
}

async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    in_time(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

/// Both sides hear a Close with 1012, answer it, and see their connections end.
async fn is_told(client: &mut TcpStream, upstream: &mut TcpStream) {
    let (opcode, key, payload) = next_frame(upstream).await;
    assert_eq!((opcode, key.is_some(), &payload[..]), (CLOSE, true, RESTART), "what goes to a server is masked");
    assert_eq!(next_frame(client).await, (CLOSE, None, RESTART.to_vec()), "what goes to a client is not");
    send(client, &frame(CLOSE, KEY, &RESTART[..2])).await;
    send(upstream, &frame(CLOSE, None, &RESTART[..2])).await;
    is_closed(client).await;
    is_closed(upstream).await;
}

fn ends(plane: &Plane) -> [u64; 4] {
    plane.group.totals().tunnel_ends
}

async fn has_ended(plane: &Plane, end: TunnelEnd) {
    let mut expected = [0; 4];
    expected[end as usize] = 1;
    eventually(&format!("{end:?}"), || ends(plane).iter().sum::<u64>() == 1).await;
    assert_eq!(ends(plane), expected, "{end:?}");
    eventually("none is left", || plane.group.tunnels() + plane.upstreams[0].tunnels() == 0).await;
}

#[tokio::test]
async fn a_close_stands_between_two_frames_in_both_directions() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    assert_eq!((plane.group.tunnels(), plane.upstreams[0].tunnels(), plane.upstreams[0].in_flight()), (1, 1, 0));
    let message = frame(TEXT, None, &[b'x'; 500]);
    send(&mut upstream, &message[..100]).await;
    receive(&mut client, &message[..100]).await;
    plane.publish(Some(at_once()));
    // Its frame ends first, and what it says after it goes nowhere.
    send(&mut upstream, &[&message[100..], &frame(TEXT, None, b"too late")].concat()).await;
    receive(&mut client, &message[100..]).await;
    // Now it may hear of it: before, its answer would have stood within its message.
    let (opcode, key, payload) = next_frame(&mut upstream).await;
    assert_eq!((opcode, key.is_some(), &payload[..]), (CLOSE, true, RESTART));
    assert_eq!(next_frame(&mut client).await, (CLOSE, None, RESTART.to_vec()));
    send(&mut client, &[frame(TEXT, KEY, b"too late, too"), frame(CLOSE, KEY, &RESTART[..2])].concat()).await;
    send(&mut upstream, &frame(CLOSE, None, &RESTART[..2])).await;
    is_closed(&mut client).await;
    is_closed(&mut upstream).await;
    has_ended(&plane, TunnelEnd::Told).await;
}

#[tokio::test]
async fn each_close_to_a_server_has_a_key_of_its_own() {
    let mut plane = Plane::new(1).await;
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        tunnels.push(plane.tunnel().await);
    }
    plane.publish(Some(at_once()));
    let mut keys = std::collections::HashSet::new();
    for (_, upstream) in &mut tunnels {
        keys.insert(next_frame(upstream).await.1.unwrap());
    }
    assert_eq!(keys.len(), 4);
}

#[tokio::test]
async fn only_tunnels_to_the_named_upstreams_are_told() {
    let mut plane = Plane::new(2).await;
    // In turn: each upstream has one.
    let (mut tunnels, first) =
        (vec![plane.tunnel().await, plane.tunnel().await], plane.upstreams[0].endpoint.url.clone());
    tunnels.sort_by_key(|(_, upstream)| format!("http://{}", upstream.local_addr().unwrap()) != first);
    let [(mut client, mut upstream), (mut other_client, mut other_upstream)] = tunnels.try_into().unwrap();
    assert_eq!((plane.upstreams[0].tunnels(), plane.upstreams[1].tunnels(), plane.group.tunnels()), (1, 1, 2));
    let upstreams = Some(vec![plane.upstreams[0].id]);
    plane.publish(Some(Farewell { upstreams, ..at_once() }));
    is_told(&mut client, &mut upstream).await;
    eventually("only the other one is left", || plane.upstreams[0].tunnels() == 0 && plane.group.tunnels() == 1).await;
    let message = frame(TEXT, KEY, b"hello");
    send(&mut other_client, &message).await;
    receive(&mut other_upstream, &message).await;
    // The tunnel of the other is told by the next table that means it.
    plane.publish(Some(at_once()));
    is_told(&mut other_client, &mut other_upstream).await;
}

#[tokio::test]
async fn a_tunnel_that_opens_after_the_farewell_from_an_older_choice_is_told_too() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.asked("/ws").await;
    plane.publish(Some(at_once()));
    // The worker has seen it: it answers by the new table.
    let (_second, mut accepted) = plane.asked("/ws").await;
    switch(&mut upstream).await;
    samples::head_of(&mut client).await;
    is_told(&mut client, &mut upstream).await;
    switch(&mut accepted).await;
    assert_eq!(next_frame(&mut accepted).await.0, CLOSE);
}

#[tokio::test]
async fn a_farewell_that_was_taken_back_is_not_carried_out() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    plane.publish(Some(Farewell { spread: Duration::from_secs(86_400), ..at_once() }));
    plane.publish(None);
    let message = frame(TEXT, KEY, b"hello");
    send(&mut client, &message).await;
    receive(&mut upstream, &message).await;
    // A new one counts anew: had the old one stood, this would have to wait a day.
    plane.publish(Some(at_once()));
    is_told(&mut client, &mut upstream).await;
}

#[tokio::test]
async fn a_direction_that_has_carried_a_close_gets_no_second_one() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    let close = frame(CLOSE, KEY, &1000_u16.to_be_bytes());
    send(&mut client, &close).await;
    receive(&mut upstream, &close).await;
    plane.publish(Some(at_once()));
    // The upstream, which has not answered yet, is not waited for; the client hears a Close all the same.
    assert_eq!(next_frame(&mut client).await, (CLOSE, None, RESTART.to_vec()));
    send(&mut upstream, &frame(CLOSE, None, &1000_u16.to_be_bytes())).await;
    is_closed(&mut upstream).await;
    is_closed(&mut client).await;
    has_ended(&plane, TunnelEnd::Told).await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_in_time_is_cut_and_the_other_direction_is_told() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    let message = frame(TEXT, None, &[b'x'; 500]);
    send(&mut upstream, &message[..100]).await;
    receive(&mut client, &message[..100]).await;
    plane.publish(Some(at_once()));
    assert_eq!(next_frame(&mut upstream).await.0, CLOSE);
    is_closed(&mut client).await;
    is_closed(&mut upstream).await;
    has_ended(&plane, TunnelEnd::Cut).await;
}

#[tokio::test]
async fn sides_that_do_not_answer_are_not_waited_for() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    plane.publish(Some(at_once()));
    assert_eq!(next_frame(&mut upstream).await.0, CLOSE);
    assert_eq!(next_frame(&mut client).await.0, CLOSE);
    is_closed(&mut client).await;
    is_closed(&mut upstream).await;
    has_ended(&plane, TunnelEnd::Told).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_cut_at_its_moment() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    // A length with its highest bit set.
    let nonsense = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
    send(&mut client, &nonsense).await;
    receive(&mut upstream, &nonsense).await;
    plane.publish(Some(at_once()));
    is_closed(&mut client).await;
    is_closed(&mut upstream).await;
    has_ended(&plane, TunnelEnd::Cut).await;
}

#[tokio::test]
async fn on_the_way_down_tunnels_are_told_before_the_deadline() {
    let mut plane = Plane::new(1).await;
    // Longer than there is time: it is made shorter.
    plane.spread = Duration::from_secs(600);
    plane.publish(None);
    let mut tunnels = Vec::new();
    for _ in 0..5 {
        tunnels.push(plane.tunnel().await);
    }
    let told = async {
        for (client, upstream) in &mut tunnels {
            is_told(client, upstream).await;
        }
    };
    tokio::join!(plane.stop(Duration::from_secs(4)), told);
}

#[tokio::test]
async fn answers_of_events_and_long_ones_are_counted_as_streams() {
    let plane = Plane::new(1).await;
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let plain = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut reader, mut sse) = plane.asked("/events").await;
    send(&mut sse, events.as_bytes()).await;
    samples::head_of(&mut reader).await;
    assert_eq!((plane.group.streams(), plane.group.in_flight()), (1, 1));
    let (mut long_reader, mut long) = plane.asked("/long").await;
    send(&mut long, plain.as_bytes()).await;
    samples::head_of(&mut long_reader).await;
    assert_eq!((plane.group.streams(), plane.group.in_flight()), (1, 2), "it has only begun");
    in_time(async {
        while plane.group.streams() < 2 {
            send(&mut long, b"1\r\nx\r\n").await;
            receive(&mut long_reader, b"1\r\nx\r\n").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    send(&mut long, b"0\r\n\r\n").await;
    eventually("the long one is over", || plane.group.streams() == 1 && plane.group.in_flight() == 1).await;
    drop(reader);
    eventually("nobody listens any more", || plane.group.streams() == 0 && plane.group.in_flight() == 0).await;
}

#[test]
fn an_idle_tunnel_costs_little() {
    fn size<F>(_: impl FnOnce(Box<Tunnel>, Wire, BytesMut) -> F) -> usize {
        size_of::<F>()
    }
    let (joined, notice) = (size(Tunnel::join::<Wire>), size_of::<Notice>());
    assert!(joined + notice < 700, "{joined} + {notice}");
}

/// Writes frames, cut anywhere, until it hears a Close, which it answers; gives what it has sent and received. One that
/// has a Close to send at its end leaves it at that.
async fn peer(stream: DuplexStream, key: Option<[u8; 4]>, frames: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let heard = std::cell::Cell::new(false);
    let talk = async {
        let mut said = Vec::new();
        for frame in frames {
            said.push(frame);
            let mut rest = &said[said.len() - 1][..];
            while !rest.is_empty() {
                let piece = fastrand::usize(1..=rest.len());
                if write.write_all(&rest[..piece]).await.is_err() {
                    return said;
                }
                rest = &rest[piece..];
                tokio::task::yield_now().await;
            }
            if heard.get() {
                break;
            }
        }
        while !heard.get() {
            tokio::task::yield_now().await;
        }
        if said.last().is_none_or(|f| f[0] & 0x0f != CLOSE) {
            said.push(frame(CLOSE, key, b"\x03\xf4"));
            let _ = write.write_all(&said[said.len() - 1]).await;
        }
        said
    };
    let listen = async {
        let (mut all, mut looked_at, mut buffer) = (Vec::new(), 0, [0; 256]);
        while let Ok(length @ 1..) = read.read(&mut buffer[..fastrand::usize(1..=256)]).await {
            all.extend_from_slice(&buffer[..length]);
            let (frames, rest) = parsed(&all[looked_at..]);
            looked_at = all.len() - rest.len();
            heard.set(heard.get() || frames.iter().any(|f| f.0 == CLOSE));
        }
        heard.set(true);
        all
    };
    tokio::join!(talk, listen)
}

/// Some frames, perhaps with a Close behind them.
fn frames(key: Option<[u8; 4]>) -> Vec<Vec<u8>> {
    let some = |_| frame(fastrand::u8(0..3), key, &vec![7; [0, 1, 125, 126, 1000][fastrand::usize(0..5)]]);
    let mut frames: Vec<_> = (0..fastrand::usize(0..12)).map(some).collect();
    if fastrand::u8(0..4) == 0 {
        frames.push(frame(CLOSE, key, b"\x03\xe8"));
    }
    frames
}

/// Panics unless `received` is the first of the frames that were `sent`, and one Close at the end.
fn is_whole(sent: &[Vec<u8>], received: &[u8], masked: bool) {
    let (got, rest) = parsed(received);
    assert_eq!(rest, b"", "a frame that does not end");
    let closes = got.iter().filter(|f| f.0 == CLOSE).count();
    assert_eq!((closes, got.last().map(|f| f.0)), (1, Some(CLOSE)), "{} frames", got.len());
    assert!(got.iter().all(|f| f.1.is_some() == masked));
    // What a side sends for a Close has no reason in it.
    let ours = got.last().is_some_and(|f| f.2 == RESTART);
    let first: Vec<u8> = sent[..got.len() - usize::from(ours)].concat();
    assert!(received.starts_with(&first), "what was sent came as something else");
}

fn notice() -> (Tunnels, Enrolled, Snapshot) {
    let upstream = samples::upstream(1, "127.0.0.1:1".parse().unwrap());
    let mut service = samples::service(&Arc::new(GroupLive::new(1)), &[upstream], Duration::ZERO);
    service.groups[0].farewell = Some(at_once());
    let mut table = samples::table(service);
    table.generation = 1;
    let (tunnels, table) = (Tunnels::new(0), Rc::new(Arc::new(table)));
    let berth = Berth { snapshot: Rc::clone(&table), service: 0, group: 0, upstream: 0 };
    let enrolled = tunnels.add(berth);
    (tunnels, enrolled, table)
}

fn joined<C, U>(client: C, upstream: U) -> Joined<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let pulse = Pulse { last: Instant::now(), idle: Duration::from_secs(60) };
    let (client, upstream) = (Side::new(client, BytesMut::new()), Side::new(upstream, BytesMut::new()));
    Joined { client, upstream, pulse, alarm: Alarm::default(), closing: None }
}

#[tokio::test]
async fn whatever_passes_at_its_moment_each_side_gets_whole_frames_and_one_close() {
    let mut ends = [0; 4];
    for _ in 0..400 {
        let (tunnels, enrolled, table) = notice();
        let room = || [16, 100, 10_000][fastrand::usize(0..3)];
        let ((client, near), (far, upstream)) = (duplex(room()), duplex(room()));
        let mut joined = joined(near, far);
        let (mut polls, moment) = (0, fastrand::u32(0..200));
        let mut scratch = vec![0; fastrand::usize(1..200)];
        let relay = async {
            let end = poll_fn(|cx| {
                enrolled.notice().listen(cx);
                polls += 1;
                if polls > moment {
                    tunnels.follow(&table, Instant::now());
                } else {
                    cx.waker().wake_by_ref();
                }
                joined.poll(enrolled.notice(), &mut scratch, cx)
            })
            .await;
            drop(joined);
            end
        };
        let client = peer(client, KEY, frames(KEY));
        let upstream = peer(upstream, None, frames(None));
        let (end, (up, to_client), (down, to_upstream)) =
            in_time(async { tokio::join!(relay, client, upstream) }).await;
        is_whole(&down, &to_client, false);
        is_whole(&up, &to_upstream, true);
        ends[end as usize] += 1;
    }
    assert_eq!(ends[TunnelEnd::Cut as usize] + ends[TunnelEnd::Idle as usize], 0, "{ends:?}");
    assert!(ends[TunnelEnd::Told as usize] > 200, "{ends:?}");
}

#[tokio::test]
async fn a_fragmented_message_ends_before_either_side_hears_of_it() {
    let mut plane = Plane::new(1).await;
    let (mut client, mut upstream) = plane.tunnel().await;
    let (mut first, mut last) = (frame(TEXT, KEY, b"begun "), frame(0, KEY, b"and ended"));
    first[0] &= 0x7f;
    send(&mut client, &first).await;
    receive(&mut upstream, &first).await;
    plane.publish(Some(at_once()));
    last[0] |= 0x80;
    send(&mut client, &last).await;
    receive(&mut upstream, &last).await;
    is_told(&mut client, &mut upstream).await;
    has_ended(&plane, TunnelEnd::Told).await;
}
