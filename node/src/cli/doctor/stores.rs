//! Where a replica keeps its large blobs.

use std::path::Path;

use super::disks;
use super::finding::{Finding, Report};
use crate::cli::output;
use crate::host::Host;
use crate::host::objects::{Credentials, StoreUrl};
use crate::replica;

pub(super) async fn check(host: &Host, data: &Path, asked: Option<&StoreUrl>, report: &mut Report) {
    let (disk, folder, wanted) = (host.shared_disk(), data.to_owned(), asked.cloned());
    let examining = host.spawn_blocking(move || {
        replica::examine_blob_location(&*disk, &folder, wanted.as_ref(), &Credentials::from_environment())
    });
    let next = "mount the disk, or start the store, where the blobs are; `vouch replica --store` names the place";
    match examining.await {
        // Beside the keys: the folder itself is checked.
        Ok(Ok(StoreUrl::Files(None))) => {}
        Ok(Ok(url @ StoreUrl::Files(Some(_)))) => {
            report.add(Finding::ok("store", format_args!("large blobs of {} are in {url}", output::name(data))));
            if let StoreUrl::Files(Some(folder)) = url {
                disks::check(host, &folder).into_iter().for_each(|finding| report.add(finding));
            }
        }
        Ok(Ok(url)) => report.add(Finding::ok("store", format_args!("{url} answers"))),
        Ok(Err(error)) => report.add(Finding::of_error("store", error, next)),
        Err(panicked) => report.add(Finding::failed("store", panicked, next)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;
    use crate::keys::private_folder;

    #[tokio::test]
    async fn a_place_whose_disk_is_not_mounted_fails_and_one_that_is_there_is_checked() {
        let (data, blobs) = (private_folder(), private_folder());
        let url: StoreUrl = format!("file:{}", blobs.path().display()).parse().unwrap();
        let checked = async || {
            let mut report = Report::new(true);
            check(&Host::system(), data.path(), Some(&url), &mut report).await;
            report.findings().to_vec()
        };
        let findings = checked().await;
        assert_eq!((findings[0].check, findings[0].outcome), ("store", Outcome::Ok));
        assert!(findings.iter().any(|finding| finding.check == "sync"));
        // The index names blobs, and the place has lost its owner.
        std::fs::write(data.path().join("index.redb"), "").unwrap();
        std::fs::write(data.path().join("store"), format!("{url}\n")).unwrap();
        let findings = checked().await;
        assert_eq!(findings[0].outcome, Outcome::Failed, "{findings:?}");
        assert!(findings[0].found.contains("Is the disk mounted?"), "{findings:?}");
    }

    #[tokio::test]
    async fn blobs_beside_the_keys_need_no_line() {
        let mut report = Report::new(true);
        check(&Host::system(), private_folder().path(), None, &mut report).await;
        assert!(report.findings().is_empty());
    }
}
