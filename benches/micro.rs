//! What a request costs in the parts that look at the table: each alone, in nanoseconds, without sockets.
//!
//! `cargo bench --bench micro`. These are for finding out which of two ways is faster, and that one became slower; what
//! a whole request costs is measured by `benches/run` and `benches/peers/run`.

#![allow(missing_docs, reason = "the macros of criterion make public functions without any")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use pointsman::config::spec::{HeaderEdits, RouteMatch};
use pointsman::model::cohort::{Position, Salt, owner};
use pointsman::model::histogram;
use pointsman::routing::live::RetryTokens;
use pointsman::routing::publish;
use pointsman::routing::table::{Action, Route, Routes, Table, Target};

fn route(host: Option<String>, path: String) -> Route {
    Route {
        matches: RouteMatch { host, path, methods: Vec::new(), listener: None },
        action: Action::Forward(0),
        strip_prefix: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        allow: Vec::new(),
    }
}

/// So many routes: the last one takes everything, the others stand for a host and a path each.
fn routes(count: usize) -> Routes {
    let special = (1..count).map(|n| route(Some(format!("shop-{n}.example.com")), format!("/api/v{n}")));
    Routes::new(special.chain([route(None, "/".to_owned())]).collect())
}

fn find_a_route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [1, 10, 100] {
        let routes = routes(count);
        for (what, host, path) in [
            ("that only the last one fits", "www.example.com", "/index.html"),
            ("in the middle", &*format!("shop-{}.example.com", count / 2), &*format!("/api/v{}/items", count / 2)),
        ] {
            let target = Target { host, path, method: &Method::GET, listener: None };
            group.bench_with_input(BenchmarkId::new(what, count), &target, |b, target| {
                b.iter(|| routes.find(black_box(target)).map(|(index, _)| index));
            });
        }
    }
    group.finish();
}

fn choose_a_group(c: &mut Criterion) {
    let shares = [900_000, 0, 100_000];
    let ids: Vec<String> = (0..64_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let mut next = 0;
    c.bench_function("group by the hash of a cookie", |b| {
        b.iter(|| {
            next = (next + 1) % ids.len();
            owner(black_box(shares), Position::of(black_box(Salt(7)), ids[next].as_bytes()))
        });
    });
}

fn look_at_the_table(c: &mut Criterion) {
    let (mut publisher, reader) = publish::channel(Table::default());
    let snapshots = reader.snapshots();
    c.bench_function("table, nobody publishes", |b| b.iter(|| black_box(&snapshots).load().generation));

    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let publishing = std::thread::spawn(move || {
        let mut count = 0_u64;
        while !told.load(Ordering::Relaxed) {
            publisher.publish(Table { routes: routes(10), ..Table::default() });
            count += 1;
        }
        count
    });
    c.bench_function("table, published all the time", |b| b.iter(|| black_box(&snapshots).load().generation));
    over.store(true, Ordering::Relaxed);
    let count = publishing.join().expect("publishing does not panic");
    assert!(count > 1, "nothing was published meanwhile");
}

fn count_a_duration(c: &mut Criterion) {
    let mut micros = 1_u64;
    c.bench_function("bucket of a duration", |b| {
        b.iter(|| {
            micros = (micros * 5 + 3) & 0xf_ffff;
            histogram::bucket(black_box(micros))
        });
    });
}

fn deposit_for_retries(c: &mut Criterion) {
    let tokens = RetryTokens::default();
    c.bench_function("deposit of a retry token", |b| b.iter(|| black_box(&tokens).deposit(black_box(200_000))));
}

criterion_group!(benches, find_a_route, choose_a_group, look_at_the_table, count_a_duration, deposit_for_retries);
criterion_main!(benches);
