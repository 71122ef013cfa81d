//! Files of 1 KiB: puts per second over one link with 64 at once, latency of a single put, and the cost of a slow replica to the
//! others. Everything is synced by every replica and by the server before a certificate counts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use support::processes::Processes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use vouch::client::PutLink;
use vouch::host::Host;
use vouch_core::receipt::NEVER;

use super::meter::{Busy, Meter};
use super::proxy::Proxy;
use super::{median, noise, row};

const SIZE: usize = 1024;
const AT_ONCE: usize = 64;
/// Puts per run: concurrent, and sequential.
const MANY: u64 = 4096;
const LONE: u64 = 200;
/// Uncounted puts after a change: the first of them identify a slow replica.
const WARM: u64 = 5;

pub(crate) fn run(runs: usize) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut cluster = runtime.block_on(Processes::start_in(folder.path(), 3));
    let proxy = Proxy::start(cluster.address());
    cluster.add_replica_through(&proxy.address, 3, &[], &[]);
    runtime.block_on(cluster.until_connected());
    let slow = &cluster.replicas[3];
    let ids = cluster.ids();
    let link = runtime.block_on(PutLink::open(&Host::system(), cluster.address(), None)).unwrap();
    let mut numbers = 0..;
    // founds the committee
    lone(&runtime, &link, &mut numbers, WARM);

    let (mut rates, mut busy) = (Vec::new(), Vec::new());
    let (mut healthy, mut stopped, mut delayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (rate, while_many) = many(&runtime, &link, &mut numbers, &ids);
        rates.push(rate);
        busy.push(while_many);
        healthy.push(lone(&runtime, &link, &mut numbers, LONE));
        slow.stop();
        lone(&runtime, &link, &mut numbers, WARM);
        stopped.push(lone(&runtime, &link, &mut numbers, LONE));
        slow.resume();
        lone(&runtime, &link, &mut numbers, WARM);
        proxy.set_delay(Duration::from_secs(2));
        lone(&runtime, &link, &mut numbers, WARM);
        delayed.push(lone(&runtime, &link, &mut numbers, LONE));
        proxy.set_delay(Duration::ZERO);
        std::thread::sleep(Duration::from_secs(3));
        lone(&runtime, &link, &mut numbers, WARM);
    }
    println!(
        "{:<44} {:>9.0} certificates a second; processors {:.0} % busy, disk {:.0} %",
        format!("put {SIZE} B, {AT_ONCE} at once on a link"),
        median(rates),
        100.0 * median(busy.iter().map(|busy| busy.processors).collect()),
        100.0 * median(busy.iter().map(|busy| busy.disk.unwrap_or(f64::NAN)).collect()),
    );
    let at = |runs: &[Vec<f64>], share: f64| median(runs.iter().map(|times| quantile(times, share)).collect());
    println!(
        "{:<44} {:>9.3} ms    p99 {:.3} ms",
        format!("put {SIZE} B alone, open link, p50"),
        at(&healthy, 0.5),
        at(&healthy, 0.99)
    );
    for (what, times) in [("one replica stopped", &stopped), ("one replica 2 s late", &delayed)] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            row(&format!("{what}, {name}"), at(times, share), at(&healthy, share), "ms", "all healthy");
        }
    }
}

/// Milliseconds of each sequential put.
fn lone(runtime: &Runtime, link: &PutLink, numbers: &mut impl Iterator<Item = u64>, count: u64) -> Vec<f64> {
    let mut times = Vec::new();
    for number in numbers.take(usize::try_from(count).unwrap()) {
        let bytes = Bytes::from(noise(SIZE, number));
        let start = Instant::now();
        runtime.block_on(link.put_bytes(bytes, NEVER, false)).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times
}

/// Certificates per second, and the utilization.
fn many(runtime: &Runtime, link: &PutLink, numbers: &mut impl Iterator<Item = u64>, ids: &[u32]) -> (f64, Busy) {
    let files: Vec<Bytes> =
        numbers.take(usize::try_from(MANY).unwrap()).map(|number| noise(SIZE, number).into()).collect();
    let meter = Meter::start(ids);
    runtime.block_on(async {
        let mut puts = JoinSet::new();
        for bytes in files {
            if puts.len() >= AT_ONCE {
                puts.join_next().await.unwrap().unwrap();
            }
            let link = link.clone();
            puts.spawn(async move { drop(link.put_bytes(bytes, NEVER, false).await.unwrap()) });
        }
        while let Some(put) = puts.join_next().await {
            put.unwrap();
        }
    });
    let (seconds, busy) = meter.stop(ids);
    (MANY as f64 / seconds, busy)
}

fn quantile(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a short list")]
    let position = ((times.len() - 1) as f64 * share).ceil() as usize;
    times[position]
}
