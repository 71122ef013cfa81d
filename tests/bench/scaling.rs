//! Put throughput by number of replicas and blob size, as a table and a plot, with the resource that limits each
//! point.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use plotters::prelude::*;
use support::blobs::write_content;
use support::processes::Processes;
use tokio::task::JoinSet;
use vouch::client::{Item, PutLink};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch_core::receipt::NEVER;

use super::meter::{Busy, Meter};

const REPLICAS: [usize; 4] = [1, 4, 7, 10];
/// Blob size, number of blobs, concurrency: about as many bytes as are moved in a few seconds.
const SIZES: [(usize, usize, usize); 6] = [
    (1 << 10, 2000, 64),
    (16 << 10, 1000, 64),
    (256 << 10, 200, 16),
    (4 << 20, 32, 4),
    (64 << 20, 4, 2),
    (1 << 30, 1, 1),
];

#[derive(Debug, Clone, Copy)]
struct Point {
    n: usize,
    size: usize,
    blobs: usize,
    at_once: usize,
    seconds: f64,
    busy: Busy,
}

impl Point {
    fn rate(&self) -> f64 {
        self.blobs as f64 / self.seconds
    }

    fn mib_per_second(&self) -> f64 {
        self.rate() * self.size as f64 / f64::from(1 << 20)
    }

    /// The resource with the highest utilization.
    fn limit(&self) -> String {
        let Busy { processors, disk } = self.busy;
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let busy_disk = disk.unwrap_or(0.0);
        let beside = disk.map_or_else(String::new, |disk| format!(", the disk {}", percent(disk)));
        if processors >= 0.8 && processors >= busy_disk {
            format!("the processors are the limit: {} busy{beside}", percent(processors))
        } else if busy_disk >= 0.8 {
            format!("the disk is the limit: {} busy, the processors {}", percent(busy_disk), percent(processors))
        } else {
            format!(
                "waiting is the limit (syncs and messages, one after the other): the processors are {} busy{beside}",
                percent(processors)
            )
        }
    }
}

pub(crate) async fn run() {
    // this program is in target/release/deps
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(3).unwrap().join("bench");
    fs::create_dir_all(&folder).unwrap();
    let mut points = Vec::new();
    println!("{:>3} {:>9} {:>6} {:>8} {:>10} {:>10}", "n", "size", "blobs", "at once", "blobs/s", "MiB/s");
    for n in REPLICAS {
        let cluster = Processes::start_in(Path::new("."), n).await;
        // founds the committee
        cluster.put(b"first").await.unwrap();
        for (size, blobs, at_once) in SIZES {
            let point = measure(&cluster, n, size, blobs, at_once).await;
            println!("{}  {}", row(&point), point.limit());
            points.push(point);
        }
    }
    let table = folder.join("throughput.md");
    fs::write(&table, as_table(&points)).unwrap();
    let picture = folder.join("throughput.svg");
    plot(&points, &picture).unwrap();
    println!("written: {} and {}", table.display(), picture.display());
}

/// Puts `blobs` blobs of one size over one link, `at_once` concurrently.
async fn measure(cluster: &Processes, n: usize, size: usize, blobs: usize, at_once: usize) -> Point {
    let folder = tempfile::tempdir_in(".").unwrap();
    let files: Vec<_> = (0..blobs).map(|number| folder.path().join(number.to_string())).collect();
    for (seed, file) in (0..).zip(&files) {
        write_content(file, (size as u64) << 20 | seed, size as u64).unwrap();
    }
    let link = PutLink::open(&Host::system(), cluster.address(), None).await.unwrap();
    let ids = cluster.ids();
    let meter = Meter::start(&ids);
    let mut puts = JoinSet::new();
    for file in files {
        if puts.len() >= at_once {
            puts.join_next().await.unwrap().unwrap();
        }
        let (link, source) = (link.clone(), Source::File(file));
        puts.spawn(async move { drop(link.put(Item { source, expires_at: NEVER, renew: false }).await.unwrap()) });
    }
    while let Some(put) = puts.join_next().await {
        put.unwrap();
    }
    let (seconds, busy) = meter.stop(&ids);
    Point { n, size, blobs, at_once, seconds, busy }
}

fn row(point: &Point) -> String {
    let Point { n, size, blobs, at_once, .. } = *point;
    let (rate, speed) = (point.rate(), point.mib_per_second());
    format!("{n:>3} {:>9} {blobs:>6} {at_once:>8} {rate:>10.1} {speed:>10.1}", shown(size))
}

fn shown(size: usize) -> String {
    match size {
        size if size >= 1 << 30 => format!("{} GiB", size >> 30),
        size if size >= 1 << 20 => format!("{} MiB", size >> 20),
        size => format!("{} KiB", size >> 10),
    }
}

fn as_table(points: &[Point]) -> String {
    let mut table = String::from(
        "# Throughput of puts\n\nOne server and n replicas, all processes of one machine and one disk; everything fsynced.\n\n\
         | n | blob | blobs | at once | blobs/s | MiB/s | what holds it back |\n|---|---|---|---|---|---|---|\n",
    );
    for point in points {
        let Point { n, size, blobs, at_once, .. } = *point;
        let (rate, speed, limit) = (point.rate(), point.mib_per_second(), point.limit());
        let size = shown(size);
        // writing to a string does not fail
        let _ = writeln!(table, "| {n} | {size} | {blobs} | {at_once} | {rate:.1} | {speed:.1} | {limit} |");
    }
    table
}

/// MiB/s by blob size, both axes logarithmic, one line per n.
fn plot(points: &[Point], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const COLOURS: [RGBColor; 4] =
        [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    // base-2 logarithms, so that grid steps are factors of two
    let sizes = SIZES[0].0.ilog2()..SIZES[SIZES.len() - 1].0.ilog2();
    let least = points.iter().map(Point::mib_per_second).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(Point::mib_per_second).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("Puts: throughput against blob size and number of replicas", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(sizes, (least / 2.0..most * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("blob size")
        .y_desc("MiB/s of file, each byte stored n times")
        .x_label_formatter(&|size| shown(1 << size))
        .y_label_formatter(&|speed| format!("{speed}"))
        .draw()?;
    for (n, colour) in REPLICAS.into_iter().zip(COLOURS) {
        let line: Vec<_> = points
            .iter()
            .filter(|point| point.n == n)
            .map(|point| (point.size.ilog2(), point.mib_per_second()))
            .collect();
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?
            .label(format!("n = {n}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
