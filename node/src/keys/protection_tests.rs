//! Keys under a passphrase, with a failure, a kill and a loss of power at each operation of the disk.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::host::disk::simulated::{Mishap, Names, SimulatedDisk, Writes};
use crate::passphrase::PassphraseSource;

const FOLDER: &str = "/data";

/// A disk with passphrases in files, and a replica's keys.
struct World {
    disk: SimulatedDisk,
    host: Host,
}

fn source(name: &str) -> PassphraseSource {
    PassphraseSource::File(PathBuf::from(format!("/passphrases/{name}")))
}

fn on(disk: &SimulatedDisk) -> Host {
    Host::on_disk(Arc::new(disk.clone()))
}

impl World {
    fn new() -> Self {
        let disk = SimulatedDisk::default();
        let host = on(&disk);
        let folders = [PathBuf::from("/passphrases"), PathBuf::from(FOLDER)];
        host.disk().create_folders(&folders, 0o700).unwrap();
        for name in ["right", "other"] {
            let path = PathBuf::from(format!("/passphrases/{name}"));
            host.disk().create_new_durably(&path, format!("the {name} passphrase\n").as_bytes(), MODE).unwrap();
        }
        let keys = ReplicaKeys::open_or_create(&host, FOLDER.as_ref()).unwrap();
        keys.votes.create(3).unwrap();
        Self { disk, host }
    }

    fn protected() -> Self {
        let world = Self::new();
        assert_eq!(protect(&world.host, FOLDER.as_ref(), &source("right")).unwrap(), 3);
        world
    }
}

/// The public keys of the folder.
fn opened(host: &Host, name: &str) -> Result<Vec<String>, KeyError> {
    let keys = ReplicaKeys::open_or_create(&host.with_passphrase(source(name)), FOLDER.as_ref())?;
    let third = keys.votes.create(3)?.secret.vote_key();
    Ok(vec![keys.node.node_key().to_string(), keys.vote.vote_key().to_string(), third.to_string()])
}

/// The contents of the files in the folder.
fn files(disk: &SimulatedDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files_below(FOLDER.as_ref()).into_iter().map(|path| (path.clone(), disk.bytes(&path))).collect()
}

fn is_sealed(text: &[u8]) -> bool {
    text.starts_with(protection::SEALED)
}

#[test]
fn keys_are_sealed_opened_and_made_plain_again() {
    let world = World::new();
    let (plain, public) = (files(&world.disk), opened(&world.host, "right").unwrap());
    assert!(!is_protected(world.host.disk(), FOLDER.as_ref()).unwrap());
    protect(&world.host, FOLDER.as_ref(), &source("right")).unwrap();
    let sealed = files(&world.disk);
    assert_eq!(sealed.iter().filter(|(_, text)| is_sealed(text)).count(), 3);
    let digits: Vec<_> =
        plain.iter().filter(|(_, text)| text.len() == DIGITS + 1).map(|(_, text)| &text[..20]).collect();
    assert_eq!(digits.len(), 3);
    for (path, text) in &sealed {
        assert!(digits.iter().all(|digits| !text.windows(20).any(|part| part == *digits)), "{}", path.display());
    }
    assert_eq!(opened(&world.host, "right").unwrap(), public);
    // A key of a later epoch, and no change of the others at a start.
    let keys = ReplicaKeys::open_or_create(&world.host.with_passphrase(source("right")), FOLDER.as_ref()).unwrap();
    keys.votes.create(9).unwrap();
    assert!(is_sealed(&world.disk.bytes(&Path::new(FOLDER).join("vote-9.key"))));
    for (path, text) in &sealed {
        assert_eq!(&world.disk.bytes(path), text);
    }
    world.host.disk().remove(&Path::new(FOLDER).join("vote-9.key")).unwrap();
    assert_eq!(unprotect(&world.host, FOLDER.as_ref(), &source("right")).unwrap(), 3);
    assert_eq!(files(&world.disk), plain);
}

#[test]
fn a_wrong_passphrase_or_none_changes_nothing() {
    let world = World::protected();
    let before = files(&world.disk);
    let wrong = |result: Result<(), KeyError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, KeyError::Wrapping { cause: AgeError::Passphrase, .. }), "{error}");
        assert_eq!(error.to_string(), "/data/keys.age: the passphrase is wrong");
    };
    wrong(opened(&world.host, "other").map(drop));
    wrong(protect(&world.host, FOLDER.as_ref(), &source("other")).map(drop));
    wrong(unprotect(&world.host, FOLDER.as_ref(), &source("other")).map(drop));
    wrong(change_passphrase(&world.host, FOLDER.as_ref(), &source("other"), &source("right")));
    let nobody = ReplicaKeys::open_or_create(&world.host, FOLDER.as_ref()).map(drop).unwrap_err();
    assert!(matches!(nobody, KeyError::NoPassphrase { .. }), "{nobody}");
    assert!(nobody.to_string().contains("--passphrase-file"));
    assert!(open_or_create_node_key(&world.host, FOLDER.as_ref()).is_err());
    assert_eq!(files(&world.disk), before);
    let plain = World::new();
    for refused in [
        unprotect(&plain.host, FOLDER.as_ref(), &source("right")).map(drop),
        change_passphrase(&plain.host, FOLDER.as_ref(), &source("right"), &source("other")),
    ] {
        assert!(matches!(refused, Err(KeyError::NotProtected { .. })), "{refused:?}");
    }
}

#[test]
fn another_passphrase_takes_the_place_of_the_old_one_and_the_keys_stay() {
    let world = World::protected();
    let public = opened(&world.host, "right").unwrap();
    change_passphrase(&world.host, FOLDER.as_ref(), &source("right"), &source("other")).unwrap();
    assert_eq!(opened(&world.host, "other").unwrap(), public);
    assert!(opened(&world.host, "right").is_err());
}

#[test]
fn an_altered_or_exchanged_key_is_refused() {
    let world = World::protected();
    let path = |name: &str| Path::new(FOLDER).join(name);
    let (node, vote) = (world.disk.bytes(&path(NODE_KEY)), world.disk.bytes(&path(VOTE_KEY)));
    let refused = |name: &str, text: &[u8]| {
        let before = world.disk.bytes(&path(name));
        world.disk.overwrite(&path(name), text);
        let error = opened(&world.host, "right").unwrap_err();
        world.disk.overwrite(&path(name), &before);
        assert!(matches!(error, KeyError::Sealed { path: got } if got == path(name)), "{name}");
    };
    refused(VOTE_KEY, &node);
    refused(NODE_KEY, &vote);
    refused(NODE_KEY, &node[..node.len() - 5]);
    for at in protection::SEALED.len()..node.len() - 1 {
        let mut altered = node.clone();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        refused(NODE_KEY, &altered);
    }
    world.host.disk().remove(&path(protection::WRAPPING)).unwrap();
    let error = opened(&world.host, "right").unwrap_err();
    assert!(matches!(error, KeyError::NoWrapping { .. }), "{error}");
}

#[test]
fn a_folder_can_be_protected_before_its_first_key() {
    let world = World::new();
    let empty = Path::new("/empty");
    world.host.disk().create_folders(&[empty.to_owned()], 0o700).unwrap();
    assert_eq!(protect(&world.host, empty, &source("right")).unwrap(), 0);
    let host = world.host.with_passphrase(source("right"));
    open_or_create_node_key(&host, empty).unwrap();
    assert!(is_sealed(&world.disk.bytes(&empty.join(NODE_KEY))));
}

#[test]
fn a_start_seals_what_a_kill_left_plain() {
    let world = World::new();
    let path = Path::new(FOLDER).join(VOTE_KEY);
    let (plain, public) = (world.disk.bytes(&path), opened(&world.host, "right").unwrap());
    protect(&world.host, FOLDER.as_ref(), &source("right")).unwrap();
    world.disk.overwrite(&path, &plain);
    assert_eq!(opened(&world.host, "right").unwrap(), public);
    assert!(is_sealed(&world.disk.bytes(&path)));
}

#[test]
fn a_checked_folder_tells_nothing_and_needs_no_passphrase() {
    let world = World::protected();
    let checked = check_keys(world.host.disk(), FOLDER.as_ref()).unwrap();
    assert!(checked.len() == 3 && checked.iter().all(|key| key.result.is_ok()), "{checked:?}");
}

/// Runs `work` with each mishap at each of its operations. Whatever survives, the keys are read with one of the passphrases, and with the
/// passphrase of the protected form the folder can be brought to either form.
fn survives(world: impl Fn() -> World, work: impl Fn(&Host) -> Result<(), KeyError>, passphrases: &[&str]) {
    let all = {
        let world = world();
        let before = world.disk.operations().len();
        work(&world.host).unwrap();
        world.disk.operations().len() - before
    };
    assert!(all > 3, "{all}");
    let mut tried = 0;
    for at in 0..all {
        for mishap in [Mishap::Error, Mishap::PowerCut] {
            let world = world();
            let public = opened(&world.host, passphrases[0]).unwrap();
            world.disk.mishap_after(at, mishap);
            let done = work(&world.host);
            world.disk.no_mishap();
            // A disk without power does nothing any more.
            let mut left: Vec<_> = (mishap == Mishap::Error).then(|| world.disk.after_kill()).into_iter().collect();
            for names in [Names::Lost, Names::Kept] {
                for writes in [Writes::Lost, Writes::Kept] {
                    left.push(world.disk.after_power_cut(writes, names));
                }
            }
            for disk in left {
                let read = passphrases.iter().find_map(|name| opened(&on(&disk), name).ok());
                assert_eq!(read.as_ref(), Some(&public), "operation {at}, {mishap:?}, {done:?}");
                // The same work again completes it.
                let host = on(&disk);
                if done.is_err() && passphrases.len() == 1 {
                    match work(&host) {
                        Ok(()) | Err(KeyError::NotProtected { .. }) => {}
                        Err(error) => panic!("operation {at}, {mishap:?}: {error}"),
                    }
                    assert_eq!(opened(&host, passphrases[0]).unwrap(), public);
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn a_kill_or_a_loss_of_power_at_any_moment_leaves_keys_that_can_be_read() {
    let folder = || Path::new(FOLDER);
    survives(World::new, |host| protect(host, folder(), &source("right")).map(drop), &["right"]);
    survives(World::protected, |host| unprotect(host, folder(), &source("right")).map(drop), &["right"]);
    survives(
        World::protected,
        |host| change_passphrase(host, folder(), &source("right"), &source("other")),
        &["right", "other"],
    );
}
