//! Utilization of processors and disk during a measurement, and the bytes that went over the network and to the disk.

use std::fs;
use std::time::Instant;

/// Utilization during a measurement, as a fraction of the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy {
    /// Of all processors, used by the nodes and this process.
    pub(crate) processors: f64,
    /// Of the disk, by all processes; `None` if the system does not report it.
    pub(crate) disk: Option<f64>,
}

/// Processor time and disk time at the start.
pub(crate) struct Meter {
    began: Instant,
    processor_seconds: f64,
    disk_seconds: Option<f64>,
}

impl Meter {
    pub(crate) fn start(processes: &[u32]) -> Self {
        Self { began: Instant::now(), processor_seconds: processor_seconds(processes), disk_seconds: disk_seconds() }
    }

    pub(crate) fn stop(self, processes: &[u32]) -> (f64, Busy) {
        let seconds = self.began.elapsed().as_secs_f64();
        let all = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let processors = (processor_seconds(processes) - self.processor_seconds) / seconds / all;
        let disk = self.disk_seconds.zip(disk_seconds()).map(|(before, after)| (after - before) / seconds);
        (seconds, Busy { processors, disk })
    }
}

/// Processor seconds used by these processes and this one (proc(5): `utime` and `stime`, in 1/100 s on Linux).
fn processor_seconds(processes: &[u32]) -> f64 {
    let used = |id: String| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // the name may contain any character and ends at the last bracket; utime is the twelfth field after it
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    };
    processes.iter().map(|id| used(id.to_string())).sum::<f64>() + used("self".into())
}

/// Seconds that the disk of this folder was busy since boot.
fn disk_seconds() -> Option<f64> {
    use std::os::linux::fs::MetadataExt;
    let device = fs::metadata(".").ok()?.st_dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let stats = fs::read_to_string("/proc/diskstats").ok()?;
    let fields = stats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut of_device = fields.filter(|f| f.len() > 12 && f[0] == major.to_string() && f[1] == minor.to_string());
    of_device.next()?[12].parse::<f64>().ok().map(|milliseconds| milliseconds / 1e3)
}

/// Bytes so far: sent over the loopback interface by anybody, and written to disks by these processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) network: f64,
    pub(crate) disk: f64,
}

impl Traffic {
    /// Bytes that the system does not report are not a number.
    pub(crate) fn now(processes: &[u32]) -> Self {
        let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let loopback = interfaces.lines().find_map(|line| line.trim().strip_prefix("lo:"));
        let network = loopback.and_then(|counts| counts.split_whitespace().nth(8)?.parse().ok());
        let written = |id: &u32| {
            let counts = fs::read_to_string(format!("/proc/{id}/io")).ok()?;
            counts.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse::<f64>().ok()
        };
        let disk = processes.iter().map(written).sum::<Option<f64>>();
        Self { network: network.unwrap_or(f64::NAN), disk: disk.unwrap_or(f64::NAN) }
    }
}
