//! Measures what each attack costs an honest client: the long form of all attacks, for `make soak`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::attacks::{Attack, Kind};
use support::blobs::{content, get_bytes, put_bytes};
use support::http;
use support::processes::Processes;
use vouch_core::digest::{ClusterId, Digest};

use super::{ATTACKER, MIB};

const MEMBERS: u16 = 4;
/// Limit on the server's memory during an attack, in bytes.
const MEMORY: u64 = 128 << 20;
/// Limit on the server's memory growth that remains a minute after an attack, in bytes.
const RETAINED_LIMIT: u64 = 8 << 20;
const RELEASED_WITHIN: Duration = Duration::from_secs(60);

fn attacks(blob: &Arc<Vec<u8>>) -> Vec<Kind> {
    let blob = || blob.clone();
    let seconds = Duration::from_secs;
    vec![
        Kind::SlowPuts { links: 4, puts: 64, every: seconds(20) },
        Kind::SlowBodies { count: 300, rate: 1126 },
        Kind::UnreadReads { links: 20, blob: blob(), members: MEMBERS },
        Kind::UnreadGets { count: 300, blob: blob() },
        Kind::IdleLinks { count: 1100 },
        Kind::HalfOpen { count: 1500 },
        Kind::Fragments { count: 900, bytes: 500 << 10, ping: seconds(6) },
        Kind::PingsBeforeHello { count: 900, ping: seconds(2) },
        Kind::Standbys { count: 900 },
        Kind::Flapping { count: 20 },
        Kind::Opening { count: 2000 },
    ]
}

/// Latencies and failures that an honest client saw.
#[derive(Debug, Default)]
struct Honest {
    puts: Vec<Duration>,
    gets: Vec<Duration>,
    failures: Vec<String>,
}

impl Honest {
    /// Alternates puts and gets for `time`.
    async fn run(cluster: &Processes, identity: ClusterId, blob: &[u8], time: Duration) -> Self {
        let mut seen = Self::default();
        let began = Instant::now();
        for seed in 1000.. {
            if began.elapsed() >= time {
                break;
            }
            let bytes = content(seed, 300 << 10);
            let start = Instant::now();
            let put = tokio::time::timeout(time, put_bytes(cluster.address(), Some(identity), &bytes)).await;
            match put {
                Ok(Ok(_)) => seen.puts.push(start.elapsed()),
                Ok(Err(error)) => seen.failures.push(format!("put: {error}")),
                Err(_) => seen.failures.push("put: no end".into()),
            }
            let start = Instant::now();
            let get = get_bytes(cluster.address(), Some(identity), Digest::of(blob));
            match tokio::time::timeout(time, get).await {
                Ok(Ok(got)) => {
                    assert!(got.bytes == blob);
                    seen.gets.push(start.elapsed());
                }
                Ok(Err(error)) => seen.failures.push(format!("get: {error}")),
                Err(_) => seen.failures.push("get: no end".into()),
            }
        }
        seen
    }
}

fn p99(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    let last = times.len().saturating_sub(1);
    times.get((times.len() * 99 / 100).min(last)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn seconds(name: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default))
}

async fn connected_members(cluster: &Processes) -> u64 {
    http::get(cluster.address(), "/v1/cluster").await.json()["connected"].as_u64().unwrap()
}

/// A cluster with a committee and a blob.
async fn start(blob: &[u8]) -> (Processes, ClusterId) {
    let cluster = Processes::start(MEMBERS.into()).await;
    let identity = cluster.put(blob).await.unwrap().committee().cluster();
    (cluster, identity)
}

/// Prints a table: for each attack the honest client's 99th percentile latency, while the attack targets another, idle
/// server on this machine (quiet), and while it targets the same server. `VOUCH_ATTACK=text` runs only attacks whose name contains it;
/// `VOUCH_ATTACK_SECONDS` sets how long each is measured, `VOUCH_ATTACK_REST` how long memory may take to shrink.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by make soak"]
async fn honest_client_is_served_during_every_attack() {
    let (time, rest) = (seconds("VOUCH_ATTACK_SECONDS", 20), seconds("VOUCH_ATTACK_REST", 60));
    let wanted = std::env::var("VOUCH_ATTACK").unwrap_or_default();
    let honest_blob = content(1, MIB);
    let large = Arc::new(content(2, 32 * MIB));
    println!(
        "{:<32} {:>21} {:>21} {:>13} {:>19} {:>7} {:>6}",
        "attack (p99 in ms)",
        "put quiet/attacked",
        "get quiet/attacked",
        "ok/failed",
        "MiB idle/peak/after",
        "members",
        "log"
    );
    let mut broken = Vec::new();
    for kind in attacks(&large).into_iter().filter(|kind| kind.name().contains(&wanted)) {
        let (idle, _) = start(&large).await;
        let (cluster, identity) = start(&honest_blob).await;
        cluster.put(&large).await.unwrap();
        cluster.get(identity, Digest::of(&honest_blob)).await.unwrap();
        let before = cluster.server.memory();
        let lines_before = cluster.server.log().lines().count();

        let attack = Attack::start(kind.clone(), idle.address(), ATTACKER);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let quiet = Honest::run(&cluster, identity, &honest_blob, time).await;
        drop(attack);
        drop(idle);

        let attack = Attack::start(kind.clone(), cluster.address(), ATTACKER);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let attacked = Honest::run(&cluster, identity, &honest_blob, time).await;
        let connected = connected_members(&cluster).await;
        drop(attack);
        let peak = cluster.server.peak_memory();
        let certified = quiet.puts.len() + attacked.puts.len();
        let log = cluster.server.log();
        let lines = log.lines().count() - lines_before - certified;
        tokio::time::sleep(rest).await;
        let after = cluster.server.memory();

        let both = |quiet: &[Duration], attacked: &[Duration]| {
            format!("{:.0} / {:.0} = {:.1}x", p99(quiet), p99(attacked), p99(attacked) / p99(quiet))
        };
        let ok = attacked.puts.len() + attacked.gets.len();
        println!(
            "{:<32} {:>21} {:>21} {:>13} {:>19} {:>7} {:>6}",
            kind.name(),
            both(&quiet.puts, &attacked.puts),
            both(&quiet.gets, &attacked.gets),
            format!("{ok} / {}", attacked.failures.len()),
            format!("{} / {} / {}", before >> 20, peak >> 20, after >> 20),
            connected,
            lines,
        );
        for line in log.lines().filter(|line| line.contains("limited: ")).take(1) {
            println!("    {line}");
        }
        let left = log.lines().filter(|line| line.contains("replica-") && line.contains(" left: ")).count();
        let fails = [
            (!attacked.failures.is_empty(), format!("honest failures: {:?}", attacked.failures.first())),
            (connected != u64::from(MEMBERS) || left > 0, format!("{connected} members, {left} left meanwhile")),
            (peak > MEMORY, format!("{} MiB", peak >> 20)),
            (
                rest >= RELEASED_WITHIN && after > before + RETAINED_LIMIT,
                format!("{} MiB before, {} MiB afterwards", before >> 20, after >> 20),
            ),
        ];
        broken.extend(fails.into_iter().filter(|(fails, _)| *fails).map(|(_, why)| format!("{}: {why}", kind.name())));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
