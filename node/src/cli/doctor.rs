//! `vouch doctor`: checks what a server, a replica or a client needs on this machine, and says what to do about each fault.
//!
//! Each check calls the rule that the program itself follows. *Failed*: Vouch does not work so, or refuses to. *Warning*: it works, and something
//! can be lost or will fail soon. *Skipped*: there was nothing to check, or an earlier fault is in the way.

mod clock;
mod disks;
mod finding;
mod folders;
mod limits;
mod ports;
mod servers;
mod stores;
#[cfg(test)]
mod tests;
mod tls_files;

use super::doctor_args::DoctorArgs;
use super::{Failure, data_folders};
use crate::host::Host;
use crate::tls::CertificateFiles;
use finding::{Finding, Report};

pub(super) async fn doctor(host: &Host, args: DoctorArgs) -> Result<u8, Failure> {
    let mut report = Report::new(args.json);
    check(host, &args, &mut report).await?;
    Ok(report.finish())
}

async fn check(host: &Host, args: &DoctorArgs, report: &mut Report) -> Result<(), Failure> {
    report.add(limits::open_files());
    let folders = match args.folders.is_empty() {
        true => data_folders::used(host.disk())?,
        false => args.folders.clone(),
    };
    if folders.is_empty() {
        report.add(Finding::skipped("folder", "no data folder here", "name one with --data FOLDER"));
    }
    for folder in &folders {
        folders::check(host, folder, report);
        stores::check(host, folder, args.store.as_ref(), report).await;
        clock::of_replica(host, folder, report).await;
    }
    if args.listens.is_empty() {
        report.add(Finding::skipped("port", "no address to listen on is named", "name one with --listen ADDRESS:PORT"));
    }
    for address in &args.listens {
        report.add(ports::check(host, address).await);
    }
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        report.add(tls_files::check(host, files));
    }
    if args.servers.is_empty() {
        report.add(Finding::skipped("server", "no server is named", "name one with --server SERVER"));
        report.add(Finding::skipped("clock", "no server to compare it with", "name one with --server SERVER"));
    }
    for server in &args.servers {
        servers::check(host, server, &args.trust, report).await;
    }
    Ok(())
}
