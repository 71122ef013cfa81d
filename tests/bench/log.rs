//! The ordered log: ops per second of many writers, and the latency of a lone op from the request to the verified proof, with 4, 7 and 10
//! members, and with one of four dead; bytes per op. Members reach each other through the server. What an idle log costs. How fast a replica
//! gets blocks that it lacks.

use std::time::{Duration, Instant};

use support::http::request;
use support::ordered_log::OPS;
use support::processes::Processes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use vouch_core::digest::ClusterId;
use vouch_core::log::Op;
use vouch_core::verify::{LogVerifyOptions, Verifier};

use super::meter::{Busy, Meter, Traffic};

const WRITERS: u32 = 64;
/// Ops of a run: of all writers together, and one by one.
const MANY: u64 = 1024;
const LONE: u64 = 60;
const IDLE: Duration = Duration::from_secs(5);
/// Seconds until an op expires. Short, because each member may have only so many unexpired ops in the log.
const LASTS: u64 = 15;

pub(crate) fn run() {
    let runtime = Runtime::new().unwrap();
    for n in [4, 7, 10] {
        let folder = tempfile::tempdir_in(".").unwrap();
        let mut cluster = runtime.block_on(Processes::start_in(folder.path(), n));
        let identity = runtime.block_on(cluster.put(b"first")).unwrap().committee().cluster();
        let mut numbers = 0..;
        runtime.block_on(first(cluster.address(), identity, &mut numbers));
        let lone = Latencies::of(&runtime, cluster.address(), identity, &mut numbers, LONE);
        lone.print(&format!("log, {n} members: a lone op"));
        let before = Traffic::now(&cluster.ids());
        let (rate, busy) = many(&runtime, &cluster, identity, &mut numbers);
        let after = Traffic::now(&cluster.ids());
        println!(
            "{:<44} {rate:>9.0} ops a second, {WRITERS} at once; processors {:.0} % busy",
            format!("log, {n} members"),
            busy.processors * 100.0
        );
        let per_op = |before: f64, after: f64| (after - before) / (MANY * n as u64) as f64;
        println!(
            "{:<44} {:>9.0} bytes sent for each op and member, {:.0} written to disk",
            format!("log, {n} members"),
            per_op(before.network, after.network),
            per_op(before.disk, after.disk)
        );
        if n == 4 {
            let meter = Meter::start(&cluster.ids());
            std::thread::sleep(IDLE);
            let (_, busy) = meter.stop(&cluster.ids());
            println!("{:<44} {:>9.2} % of the processors", "log, 4 members: idle", busy.processors * 100.0);
            cluster.replicas[3].kill();
            runtime.block_on(cluster.until_left(3));
            Latencies::of(&runtime, cluster.address(), identity, &mut numbers, LONE)
                .print("log, one of 4 members dead: a lone op");
        }
    }
    super::log_catch_up::measure(&runtime);
}

/// Submits until the log runs.
async fn first(address: &str, identity: ClusterId, numbers: &mut impl Iterator<Item = u64>) {
    let mut tries = 0;
    while !submit(address.to_owned(), identity, numbers.next().unwrap()).await {
        tries += 1;
        assert!(tries < 120, "the log does not run");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(
        runtime: &Runtime,
        address: &str,
        identity: ClusterId,
        numbers: &mut impl Iterator<Item = u64>,
        count: u64,
    ) -> Self {
        let mut all = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            assert!(runtime.block_on(submit(address.to_owned(), identity, numbers.next().unwrap())));
            all.push(began.elapsed());
        }
        all.sort();
        Self(all)
    }

    fn print(&self, what: &str) {
        let at = |percent: usize| self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)].as_secs_f64() * 1e3;
        println!("{what:<44} {:>9.0} ms median, {:.0} ms p99", at(50), at(99));
    }
}

fn many(
    runtime: &Runtime,
    cluster: &Processes,
    identity: ClusterId,
    numbers: &mut impl Iterator<Item = u64>,
) -> (f64, Busy) {
    let first = numbers.next().unwrap();
    numbers.by_ref().nth(usize::try_from(MANY).unwrap());
    let (meter, began) = (Meter::start(&cluster.ids()), Instant::now());
    let done: u64 = runtime.block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let address = cluster.address().to_owned();
            writers.spawn(async move {
                let mut done = 0;
                for number in (first..first + MANY).filter(|number| number % u64::from(WRITERS) == u64::from(writer)) {
                    done += u64::from(submit(address.clone(), identity, number).await);
                }
                done
            });
        }
        writers.join_all().await.into_iter().sum()
    });
    let rate = done as f64 / began.elapsed().as_secs_f64();
    if done < MANY {
        println!("    {} of {MANY} ops were refused or late", MANY - done);
    }
    (rate, meter.stop(&cluster.ids()).1)
}

/// Submits a note, and verifies its proof.
async fn submit(address: String, identity: ClusterId, number: u64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    let op = Op::new(Op::NOTE, nonce, now + LASTS, b"a note of a benchmark".to_vec()).unwrap();
    let (body, id) = (op.encode(), op.id(&identity));
    let length = body.len().to_string();
    let answer = request(&address, "POST", OPS, &[("Content-Length", &length)], &body).await;
    let options = LogVerifyOptions { trust: identity.into(), wanted: Some(id), now };
    tokio::task::spawn_blocking(move || Verifier::new().judge_op(&answer.body, &options).proved().is_ok())
        .await
        .unwrap()
}
