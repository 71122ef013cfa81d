//! The certificate and the key of a server on this machine, and what is left of a certificate's time.

use super::finding::Finding;
use crate::cli::output;
use crate::host::Host;
use crate::tls::{CertificateFiles, ExaminedCertificate, TlsError, examine_files};

/// A certificate that ends sooner is a warning: one from a public authority is usually renewed with 30 days left.
const SOON: u64 = 14 * 86_400;
const DAY: u64 = 86_400;

pub(super) fn check(host: &Host, files: CertificateFiles) -> Finding {
    let name = output::name(&files.certificate);
    match examine_files(host, files) {
        Err(error @ TlsError::NoAuthorities) => {
            Finding::failed("certificate", error, "run: apt install ca-certificates")
        }
        Err(error) => Finding::of_error("certificate", error, "make a new pair; run: vouch certs dev NAME"),
        Ok((certificate, Some(why))) => Finding::failed(
            "certificate",
            format_args!("{name} {}: {why}", described(&certificate, host.unix_seconds())),
            "or give the file of its authority here and to every client with --tls-ca",
        ),
        Ok((certificate, None)) => judge("certificate", &name, &certificate, host.unix_seconds()),
    }
}

/// A valid certificate, by the time that is left.
pub(super) fn judge(check: &'static str, of: &str, certificate: &ExaminedCertificate, now: u64) -> Finding {
    let found = format!("{of} {}", described(certificate, now));
    match certificate.valid_until {
        Some(until) if until.saturating_sub(now) < SOON => {
            Finding::warning(check, found, "renew it; a server takes the new files within half a minute")
        }
        _ => Finding::ok(check, found),
    }
}

/// Its names, and how long it is valid.
pub(super) fn described(certificate: &ExaminedCertificate, now: u64) -> String {
    let ExaminedCertificate { names, valid_until } = certificate;
    let names = if names.is_empty() { "IP addresses".to_owned() } else { names.join(", ") };
    let valid = match valid_until {
        None => "without an end".to_owned(),
        Some(until) if *until < now => format!("until {}, which has passed", output::time(*until)),
        Some(until) => {
            let left = output::count((until - now) / DAY, "day");
            format!("until {}, for {left} more", output::time(*until))
        }
    };
    format!("is for {names}, valid {valid}")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;
    use crate::tls::{Dialing, create_dev_certificates};

    #[test]
    fn little_time_left_is_a_warning() {
        let now = 2_000_000_000;
        for (until, outcome, text) in [
            (None, Outcome::Ok, "without an end"),
            (Some(now + SOON), Outcome::Ok, "for 14 days more"),
            (Some(now + SOON - 1), Outcome::Warning, "for 13 days more"),
            (Some(now - 1), Outcome::Warning, "which has passed"),
        ] {
            let certificate = ExaminedCertificate { names: vec!["a.example".into()], valid_until: until };
            let found = judge("tls", "it", &certificate, now);
            assert_eq!(found.outcome, outcome);
            assert!(found.found.starts_with("it is for a.example, valid ") && found.found.contains(text), "{found:?}");
        }
    }

    #[test]
    fn files_are_judged_as_a_client_does() {
        let (host, folder, other) = (Host::system(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = create_dev_certificates(&host, folder.path(), &["a.example".into()]).unwrap();
        create_dev_certificates(&host, other.path(), &["a.example".into()]).unwrap();
        let files = CertificateFiles { certificate: made.certificate, key: made.key };
        for (authority, outcome) in [(&folder, Outcome::Ok), (&other, Outcome::Failed)] {
            let dialing = Dialing::default().trusting(host.disk(), &authority.path().join("ca.pem")).unwrap();
            let found = check(&host.with_dialing(dialing), files.clone());
            assert_eq!(found.outcome, outcome, "{found:?}");
            assert_eq!(found.next.is_some_and(|next| next.contains("--tls-ca")), outcome == Outcome::Failed);
        }
        std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let wide = check(&host, files);
        assert!(
            wide.outcome == Outcome::Failed && wide.next.unwrap().starts_with("run: chmod o-rwx "),
            "{}",
            wide.found
        );
    }
}
