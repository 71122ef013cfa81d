use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};

use super::*;
use crate::host::disk::Disk;
use crate::host::disk::simulated::{Names, SimulatedDisk, Writes};

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
const BYTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bytes");
const OTHER_TYPE: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn create_table(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(NUMBERS)?;
    Ok(())
}

fn insert(number: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static {
    move |transaction| {
        transaction.open_table(NUMBERS)?.insert(number, number)?;
        Ok(())
    }
}

fn count(database: &Database) -> Result<u64, DurableError> {
    database.read(|transaction| Ok(transaction.open_table(NUMBERS)?.len()?))
}

const PATH: &str = "/data/db";

/// A database on a disk that can be made to fail.
fn faulty() -> (SimulatedDisk, Database) {
    let disk = SimulatedDisk::default();
    disk.create_folders(&["/data".into()], 0o700).unwrap();
    let database = open_on(&disk).unwrap();
    (disk, database)
}

fn open_on(disk: &SimulatedDisk) -> Result<Database, DurableError> {
    Database::open_with(&Host::on_disk(Arc::new(disk.clone())), Path::new(PATH), create_table)
}

/// Lets a future go as far as it gets without waiting, also when this test has polled many already.
fn start(future: &mut (impl Future + Unpin)) {
    let mut future = tokio::task::coop::unconstrained(future);
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// Keeps the committing thread busy until the sender is dropped.
fn occupy(database: &Database) -> (std::sync::mpsc::Sender<()>, impl Future<Output = Result<(), DurableError>>) {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (entered, wait) = std::sync::mpsc::channel::<()>();
    let mut blocker = Box::pin(database.commit(move |_| {
        drop(entered);
        let _ = released.recv();
        Ok(())
    }));
    start(&mut blocker);
    let _ = wait.recv();
    (release, blocker)
}

#[tokio::test]
async fn waiting_jobs_share_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&Host::system(), &folder.path().join("db"), create_table).unwrap();
    let (release, blocker) = occupy(&database);
    let mut jobs: Vec<_> = (0..GROUP as u64 + 100).map(|number| Box::pin(database.commit(insert(number)))).collect();
    jobs.iter_mut().for_each(start);
    assert_eq!(count(&database).unwrap(), 0, "reading does not wait for a commit and does not see its changes");
    drop(release);
    blocker.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(count(&database).unwrap(), GROUP as u64 + 100);
    assert_eq!(database.commits(), 3, "the first alone, a full group, the rest");
}

/// Inserts a number unless it is there.
fn insert_once(
    number: u64,
) -> impl FnOnce((), &WriteTransaction) -> Result<(bool, Changes), redb::Error> + Send + 'static {
    move |(), transaction| {
        let mut numbers = transaction.open_table(NUMBERS)?;
        if numbers.get(number)?.is_some() {
            return Ok((false, Changes::None));
        }
        numbers.insert(number, number)?;
        Ok((true, Changes::Made))
    }
}

#[tokio::test]
async fn a_group_is_committed_only_if_one_of_its_jobs_changed_something() {
    let (disk, database) = faulty();
    let may = || Ok::<_, ()>(());
    assert_eq!(database.commit_checked(may, insert_once(1)).await.unwrap(), Ok(true));
    assert_eq!(database.commit_checked(may, insert_once(1)).await.unwrap(), Ok(false));
    assert_eq!(database.commit_checked(|| Err::<(), _>("not now"), insert_once(3)).await.unwrap(), Err("not now"));
    assert_eq!(database.commits(), 1);
    let (release, blocker) = occupy(&database);
    let mut jobs = [1, 2, 2, 1].map(|number| Box::pin(database.commit_checked(may, insert_once(number))));
    let mut refused = Box::pin(database.commit_checked(|| Err::<(), _>("not now"), insert_once(3)));
    jobs.iter_mut().for_each(start);
    start(&mut refused);
    drop(release);
    blocker.await.unwrap();
    let mut inserted = Vec::new();
    for job in jobs {
        inserted.push(job.await.unwrap().unwrap());
    }
    // the second insert of 2 sees the first one, which the same commit makes durable
    assert_eq!(inserted, [false, true, false, false]);
    assert_eq!(refused.await.unwrap(), Err("not now"));
    assert_eq!(database.commits(), 3, "one for the job that occupied the thread, one for the group");
    let after = disk.after_power_cut(Writes::Lost, Names::Lost);
    assert_eq!(count(&open_on(&after).unwrap()).unwrap(), 2);
}

#[tokio::test]
async fn a_result_is_returned_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let database = Database::open_with(&Host::system(), &path, create_table).unwrap();
    let inserted = database.commit(|transaction| {
        let mut table = transaction.open_table(NUMBERS)?;
        table.insert(7, 8)?;
        Ok(table.len()?)
    });
    assert_eq!(inserted.await.unwrap(), 1);
    assert_eq!(count(&database).unwrap(), 1);
    drop(database);
    let database = Database::open(&Host::system(), &path).unwrap();
    assert_eq!(count(&database).unwrap(), 1);
}

#[tokio::test]
async fn a_jobs_result_is_dropped_after_its_commit_even_if_its_caller_left() {
    /// When dropped, sends how many rows are committed.
    struct DropGuard(Arc<Database>, std::sync::mpsc::Sender<u64>);
    impl Drop for DropGuard {
        fn drop(&mut self) {
            let _ = self.1.send(count(&self.0).unwrap_or(u64::MAX));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::open_with(&Host::system(), &folder.path().join("db"), create_table).unwrap());
    let (release, blocker) = occupy(&database);
    let (dropped, seen) = std::sync::mpsc::channel();
    let guard = DropGuard(database.clone(), dropped);
    start(&mut Box::pin(database.commit(move |transaction| insert(1)(transaction).map(|()| guard))));
    drop(release);
    blocker.await.unwrap();
    assert_eq!(seen.recv().unwrap(), 1);
}

#[tokio::test]
async fn waiting_jobs_are_committed_even_if_callers_left_and_the_database_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let database = Database::open_with(&Host::system(), &path, create_table).unwrap();
    let (release, blocker) = occupy(&database);
    for number in 0..10 {
        start(&mut Box::pin(database.commit(insert(number))));
    }
    drop((release, blocker));
    drop(database);
    assert_eq!(count(&Database::open(&Host::system(), &path).unwrap()).unwrap(), 10);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&Host::system(), &folder.path().join("db"), create_table).unwrap();
    let (release, blocker) = occupy(&database);
    let mut jobs: Vec<_> = (0..QUEUE as u64 + 1).map(|number| Box::pin(database.commit(insert(number)))).collect();
    jobs.iter_mut().for_each(start);
    assert_eq!(database.jobs.as_ref().unwrap().capacity(), 0);
    drop(release);
    blocker.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(count(&database).unwrap(), QUEUE as u64 + 1);
}

#[tokio::test]
async fn a_failed_job_fails_its_group_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&Host::system(), &folder.path().join("db"), create_table).unwrap();
    let (release, blocker) = occupy(&database);
    let mut good = Box::pin(database.commit(insert(1)));
    let mut bad = Box::pin(database.commit(|transaction| {
        transaction.open_table(OTHER_TYPE)?;
        Ok(())
    }));
    start(&mut good);
    start(&mut bad);
    drop(release);
    blocker.await.unwrap();
    for error in [good.await.unwrap_err(), bad.await.unwrap_err()] {
        assert!(matches!(error, DurableError::Refused { .. }), "{error}");
    }
    assert_eq!(count(&database).unwrap(), 0);
    assert!(!database.is_broken());
    database.commit(insert(2)).await.unwrap();
    assert_eq!(count(&database).unwrap(), 1);
}

#[tokio::test]
async fn commits_succeed_again_after_a_full_disk() {
    let (disk, database) = faulty();
    database.commit(insert(1)).await.unwrap();
    disk.writes_fail(ENOSPC);
    for _ in 0..2 {
        let error = database.commit(insert(2)).await.unwrap_err();
        assert!(matches!(&error, DurableError::NoSpace { path } if path == Path::new(PATH)), "{error}");
    }
    assert!(matches!(count(&database), Err(DurableError::NoSpace { .. })));
    assert!(!database.is_broken());
    disk.writes_fail(0);
    assert_eq!(count(&database).unwrap(), 1);
    database.commit(insert(3)).await.unwrap();
    assert_eq!(count(&database).unwrap(), 2);
    drop(database);
    assert_eq!(count(&open_on(&disk).unwrap()).unwrap(), 2);
}

/// A job that ignores a failure; the library then fails for everybody.
fn swallow(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    // needs a larger file
    assert!(transaction.open_table(BYTES)?.insert(0, [0; 8 << 20].as_slice()).is_err());
    Ok(())
}

#[tokio::test]
async fn a_failure_that_a_job_ignored_is_recorded() {
    let (disk, database) = faulty();
    disk.writes_fail(ENOSPC);
    let error = database.commit(swallow).await.unwrap_err();
    assert!(matches!(error, DurableError::NoSpace { .. }), "{error}");
    disk.writes_fail(0);
    database.commit(insert(1)).await.unwrap();

    disk.writes_fail(EIO);
    let error = database.commit(swallow).await.unwrap_err();
    let system = io::Error::from_raw_os_error(EIO).to_string();
    assert!(matches!(&error, DurableError::Broken { cause, .. } if *cause == system), "{error}");
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    for error in [EIO, ENOSPC] {
        let (disk, database) = faulty();
        database.commit(insert(1)).await.unwrap();
        disk.syncs_fail(error);
        let first = database.commit(insert(2)).await.unwrap_err();
        disk.syncs_fail(0);
        let operations = disk.operations().len();
        let second = database.commit(insert(3)).await.unwrap_err();
        let system = io::Error::from_raw_os_error(error).to_string();
        for error in [first, second] {
            assert!(matches!(&error, DurableError::Broken { cause, .. } if *cause == system), "{error}");
        }
        assert!(database.is_broken());
        assert!(matches!(count(&database), Err(DurableError::Broken { .. })));
        assert_eq!(disk.operations().len(), operations, "nothing is tried any more");
    }
}

#[tokio::test]
async fn a_failed_write_is_final() {
    let (disk, database) = faulty();
    disk.writes_fail(EIO);
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Broken { .. })));
    disk.writes_fail(0);
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Broken { .. })));
}

#[tokio::test]
async fn a_job_that_panics_breaks_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&Host::system(), &folder.path().join("db"), create_table).unwrap();
    let panicking = database.commit(|_| -> Result<(), redb::Error> { panic!("meant to") });
    assert!(matches!(panicking.await, Err(DurableError::Broken { cause, .. }) if cause == "meant to"));
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Broken { .. })));
    assert!(database.is_broken());
}

#[test]
fn an_error_names_what_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let missing = Database::open(&Host::system(), &folder.path().join("none/db")).unwrap_err();
    assert!(matches!(missing, DurableError::File(FileError::NotFound { .. })), "{missing}");

    let open = Database::open(&Host::system(), &path).unwrap();
    assert!(matches!(Database::open(&Host::system(), &path), Err(DurableError::InUse { path: got }) if got == path));
    drop(open);

    for garbage in [b"".as_slice(), b"garbage", &[0; 10_000]] {
        std::fs::write(&path, garbage).unwrap();
        match Database::open(&Host::system(), &path) {
            Err(DurableError::Damaged { path: got, .. }) if !garbage.is_empty() => assert_eq!(got, path),
            Ok(_) if garbage.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_interrupted_creation_starts_again() {
    let disk = SimulatedDisk::default();
    disk.create_folders(&["/data".into()], 0o700).unwrap();
    disk.writes_fail(ENOSPC);
    assert!(matches!(open_on(&disk), Err(DurableError::NoSpace { .. })));
    assert!(!disk.exists(Path::new(PATH)).unwrap());
    disk.writes_fail(0);
    assert!(disk.exists(Path::new("/data/db.new")).unwrap());
    disk.overwrite(Path::new("/data/db.new"), &[1; 100]);
    assert_eq!(count(&open_on(&disk).unwrap()).unwrap(), 0);
    assert_eq!(disk.files_below(Path::new("/")), [Path::new(PATH)]);
}

/// Opens a file that may hold any bytes, uses it, and returns whether it was moved aside.
fn use_anything(path: &Path) -> bool {
    let open = || Database::open_or_replace(&Host::system(), path, create_table).unwrap();
    let (database, mut replaced) = open();
    let bytes = |transaction: &ReadTransaction| {
        let table = transaction.open_table(BYTES)?;
        table.iter()?.try_fold(0, |sum, row| Ok(sum + row?.1.value().len()))
    };
    let used = database.read(bytes).and_then(|_| database.commit_and_wait(insert(1)));
    if let Err(error) = used {
        drop(database);
        match error {
            DurableError::Broken { .. } => {}
            // an empty one has no such table
            DurableError::Refused { .. } => return replaced.is_some(),
            other => panic!("{other:?}"),
        }
        // damage met while it is used is repaired at the next start
        let (database, now) = open();
        replaced = replaced.or(now);
        database.commit_and_wait(insert(1)).unwrap();
    }
    if let Some(Replaced { aside, cause, .. }) = &replaced {
        assert!(aside.exists() && !cause.is_empty(), "{replaced:?}");
        std::fs::remove_file(aside).unwrap();
    }
    replaced.is_some()
}

#[test]
fn a_damaged_database_is_moved_aside_wherever_the_damage_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let database = Database::open_with(&Host::system(), &path, create_table).unwrap();
    for number in 0..200_u64 {
        database
            .commit_and_wait(move |transaction| {
                transaction.open_table(BYTES)?.insert(number, vec![7; 500].as_slice())?;
                transaction.open_table(NUMBERS)?.insert(number, number)?;
                Ok(())
            })
            .unwrap();
    }
    drop(database);
    let whole = std::fs::read(&path).unwrap();
    let with = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        use_anything(&path)
    };
    assert!(!with(&whole));
    assert!(with(&[&b"garbage"[..], &whole[7..]].concat()));
    for part in [1, 2, 3] {
        assert!(with(&whole[..whole.len() * part / 4]), "cut at {part} / 4");
    }
    let mut put_aside = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..4096].fill(0xA5);
        put_aside += usize::from(with(&bytes));
    }
    assert!(put_aside > 10, "{put_aside} of {} pages", whole.len() / 4096);
}
