use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::task::{Context, Waker};

use redb::{ReadableTableMetadata, StorageBackend, TableDefinition};

use super::*;

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");
const BYTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bytes");
const OTHER_TYPE: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A file whose writes and syncs fail with the system errors set here; 0 lets them pass.
#[derive(Debug, Clone, Default)]
struct Faulty(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    write: AtomicI32,
    sync: AtomicI32,
    touched: AtomicBool,
}

impl Faulty {
    fn write_fails(&self, error: i32) {
        self.0.write.store(error, Ordering::SeqCst);
    }

    fn sync_fails(&self, error: i32) {
        self.0.sync.store(error, Ordering::SeqCst);
    }

    fn run<T>(&self, switch: &AtomicI32, pass: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.touched.store(true, Ordering::SeqCst);
        match switch.load(Ordering::SeqCst) {
            0 => pass(),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Disk for Faulty {
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError> {
        Ok(Box::new(FaultyFile { inner: Files.open(path)?, faulty: self.clone() }))
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn StorageBackend>,
    faulty: Faulty,
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faulty.run(&self.faulty.0.write, || self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faulty.run(&self.faulty.0.sync, || self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faulty.run(&self.faulty.0.write, || self.inner.write(offset, data))
    }
}

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

/// A database in a folder of its own, on a disk that can be made to fail.
fn faulty() -> (tempfile::TempDir, Faulty, Database) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let database = Database::open_on(Box::new(disk.clone()), &folder.path().join("db"), create_table).unwrap();
    (folder, disk, database)
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
async fn all_that_wait_share_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&folder.path().join("db"), create_table).unwrap();
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

#[tokio::test]
async fn a_result_comes_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let database = Database::open_with(&path, create_table).unwrap();
    let inserted = database.commit(|transaction| {
        let mut table = transaction.open_table(NUMBERS)?;
        table.insert(7, 8)?;
        Ok(table.len()?)
    });
    assert_eq!(inserted.await.unwrap(), 1);
    assert_eq!(count(&database).unwrap(), 1);
    drop(database);
    let database = Database::open(&path).unwrap();
    assert_eq!(count(&database).unwrap(), 1);
}

#[tokio::test]
async fn what_waits_is_committed_though_its_caller_left_and_the_database_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let database = Database::open_with(&path, create_table).unwrap();
    let (release, blocker) = occupy(&database);
    for number in 0..10 {
        start(&mut Box::pin(database.commit(insert(number))));
    }
    drop((release, blocker));
    drop(database);
    assert_eq!(count(&Database::open(&path).unwrap()).unwrap(), 10);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&folder.path().join("db"), create_table).unwrap();
    let (release, blocker) = occupy(&database);
    let mut jobs: Vec<_> = (0..WAITING as u64 + 1).map(|number| Box::pin(database.commit(insert(number)))).collect();
    jobs.iter_mut().for_each(start);
    assert_eq!(database.jobs.as_ref().unwrap().capacity(), 0);
    drop(release);
    blocker.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(count(&database).unwrap(), WAITING as u64 + 1);
}

#[tokio::test]
async fn a_refused_job_takes_its_group_along_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&folder.path().join("db"), create_table).unwrap();
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
async fn a_full_disk_passes() {
    let (folder, disk, database) = faulty();
    database.commit(insert(1)).await.unwrap();
    disk.write_fails(ENOSPC);
    for _ in 0..2 {
        let error = database.commit(insert(2)).await.unwrap_err();
        assert!(matches!(&error, DurableError::NoSpace { path } if *path == folder.path().join("db")), "{error}");
    }
    assert!(matches!(count(&database), Err(DurableError::NoSpace { .. })));
    assert!(!database.is_broken());
    disk.write_fails(0);
    assert_eq!(count(&database).unwrap(), 1);
    database.commit(insert(3)).await.unwrap();
    assert_eq!(count(&database).unwrap(), 2);
    drop(database);
    assert_eq!(count(&Database::open(&folder.path().join("db")).unwrap()).unwrap(), 2);
}

/// A job that meets a failure and keeps it to itself; the library then tells everybody that there was one.
fn swallow(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    // needs a larger file
    assert!(transaction.open_table(BYTES)?.insert(0, [0; 8 << 20].as_slice()).is_err());
    Ok(())
}

#[tokio::test]
async fn what_failed_is_known_though_it_was_not_told() {
    let (_folder, disk, database) = faulty();
    disk.write_fails(ENOSPC);
    let error = database.commit(swallow).await.unwrap_err();
    assert!(matches!(error, DurableError::NoSpace { .. }), "{error}");
    disk.write_fails(0);
    database.commit(insert(1)).await.unwrap();

    disk.write_fails(EIO);
    let error = database.commit(swallow).await.unwrap_err();
    let system = io::Error::from_raw_os_error(EIO).to_string();
    assert!(matches!(&error, DurableError::Broken { cause, .. } if *cause == system), "{error}");
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    for error in [EIO, ENOSPC] {
        let (_folder, disk, database) = faulty();
        database.commit(insert(1)).await.unwrap();
        disk.sync_fails(error);
        let first = database.commit(insert(2)).await.unwrap_err();
        disk.sync_fails(0);
        disk.0.touched.store(false, Ordering::SeqCst);
        let second = database.commit(insert(3)).await.unwrap_err();
        let system = io::Error::from_raw_os_error(error).to_string();
        for error in [first, second] {
            assert!(matches!(&error, DurableError::Broken { cause, .. } if *cause == system), "{error}");
        }
        assert!(database.is_broken());
        assert!(matches!(count(&database), Err(DurableError::Broken { .. })));
        assert!(!disk.0.touched.load(Ordering::SeqCst), "nothing is tried any more");
    }
}

#[tokio::test]
async fn a_failed_write_is_final() {
    let (_folder, disk, database) = faulty();
    disk.write_fails(EIO);
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Broken { .. })));
    disk.write_fails(0);
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Broken { .. })));
}

#[tokio::test]
async fn a_job_that_panics_is_told_by_silence() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open_with(&folder.path().join("db"), create_table).unwrap();
    let panicking = database.commit(|_| -> Result<(), redb::Error> { panic!("meant to") });
    assert!(matches!(panicking.await, Err(DurableError::Closed { .. })));
    assert!(matches!(database.commit(insert(1)).await, Err(DurableError::Closed { .. })));
    while !database.is_broken() {
        thread::yield_now();
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let missing = Database::open(&folder.path().join("none/db")).unwrap_err();
    assert!(matches!(missing, DurableError::File(FileError::NotFound { .. })), "{missing}");

    let open = Database::open(&path).unwrap();
    assert!(matches!(Database::open(&path), Err(DurableError::InUse { path: got }) if got == path));
    drop(open);

    for garbage in [b"".as_slice(), b"garbage", &[0; 10_000]] {
        std::fs::write(&path, garbage).unwrap();
        match Database::open(&path) {
            Err(DurableError::Unusable { path: got, .. }) if !garbage.is_empty() => assert_eq!(got, path),
            Ok(_) if garbage.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_creation_cut_short_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let disk = Faulty::default();
    disk.write_fails(ENOSPC);
    let create = || Database::open_on(Box::new(disk.clone()), &path, create_table);
    assert!(matches!(create(), Err(DurableError::NoSpace { .. })));
    assert!(!path.exists());
    disk.write_fails(0);
    std::fs::write(folder.path().join("db.new"), [1; 100]).unwrap();
    assert_eq!(count(&create().unwrap()).unwrap(), 0);
    assert_eq!(files::list(folder.path()).unwrap(), ["db"]);
}
