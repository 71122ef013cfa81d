//! The S3 client.
//!
//! An object is *durable* once the store has answered the complete write with success and has then reported the right length.
//! Every call blocks and is bounded in time and memory. The work runs on the
//! runtime on which the store was opened, so a call may come from any thread except the only one of a single-threaded runtime.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::{Listed, ObjectError, RequestKind, S3Url, Timeouts};
use answer::innermost;
use requests::connect;
use upload::TURNS;

mod answer;
mod credentials;
mod requests;
mod upload;

pub use credentials::Credentials;

/// Maximum number of names in one answer, a limit of S3.
const PAGE: usize = 1000;

/// The objects under one prefix. A clone is another handle to them.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<S3Client>,
    runtime: Handle,
}

struct S3Client {
    s3: AmazonS3,
    url: S3Url,
    timeouts: Timeouts,
    turns: Arc<Semaphore>,
}

/// Omits the library's configuration, which holds the credentials.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.inner.url).finish()
    }
}

impl Objects {
    /// Connects, and claims the prefix for `owner` by an object with the owner's name. `is_taken`: this owner has claimed it before. Call
    /// this on a runtime with several threads.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if a claimed prefix has lost the owner's name; [`ObjectError::Taken`] if it has another owner; [`ObjectError::NoCredentials`],
    /// [`ObjectError::Denied`], [`ObjectError::NoBucket`], [`ObjectError::Unreachable`]; see [`ObjectError`].
    pub fn open(
        url: &S3Url,
        credentials: &Credentials,
        owner: &str,
        is_taken: bool,
        timeouts: Timeouts,
    ) -> Result<Self, ObjectError> {
        let objects = Self::connect(url, credentials, timeouts)?;
        let (inner, owner) = (objects.inner.clone(), owner.to_owned());
        objects.wait(timeouts.question, async move { inner.take(&owner, is_taken).await })?;
        Ok(objects)
    }

    /// Whether anybody has claimed the prefix. Changes nothing. Call this on a runtime with several threads.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn is_claimed(url: &S3Url, credentials: &Credentials, timeouts: Timeouts) -> Result<bool, ObjectError> {
        let objects = Self::connect(url, credentials, timeouts)?;
        let inner = objects.inner.clone();
        objects.wait(timeouts.question, async move { inner.is_claimed().await })
    }

    fn connect(url: &S3Url, credentials: &Credentials, timeouts: Timeouts) -> Result<Self, ObjectError> {
        let setup = |cause: String| ObjectError::Setup { place: url.place(), cause };
        let runtime = Handle::try_current().map_err(|error| setup(error.to_string()))?;
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err(setup("expected a runtime of several threads".into()));
        }
        if credentials.are_missing() && url.endpoint.is_some() {
            // only Amazon's own machines provide credentials
            return Err(ObjectError::NoCredentials { server: url.server().into(), cause: String::new() });
        }
        let s3 = connect(url, credentials, timeouts).map_err(|error| setup(innermost(&error)))?;
        let turns = Arc::new(Semaphore::new(TURNS));
        Ok(Self { inner: Arc::new(S3Client { s3, url: url.clone(), timeouts, turns }), runtime })
    }

    /// Reads exactly `length` bytes of an object.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`]; [`ObjectError::LengthDiffers`] if the object is too short; see [`ObjectError`].
    pub fn get(&self, name: &str, offset: u64, length: u32) -> Result<Bytes, ObjectError> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.wait(self.inner.timeouts.question, async move { inner.get(&name, offset, length.into()).await })
    }

    /// The length of an object; `None` if it does not exist.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn length(&self, name: &str) -> Result<Option<u64>, ObjectError> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.wait(self.inner.timeouts.question, async move { inner.length(&name).await })
    }

    /// A text that identifies this version of an object; `None` if the object does not exist.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn version(&self, name: &str) -> Result<Option<String>, ObjectError> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.wait(self.inner.timeouts.question, async move { inner.version(&name).await })
    }

    /// Removes an object, if it exists.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn remove(&self, name: &str) -> Result<(), ObjectError> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.wait(self.inner.timeouts.question, async move {
            match inner
                .s3
                .delete(&inner.path(&name))
                .await
                .map_err(|error| inner.error(RequestKind::Remove, &name, &error))
            {
                Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// The objects whose name begins with `beginning`, in no particular order.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn list(&self, beginning: &str) -> Result<Vec<Listed>, ObjectError> {
        let mut listed = Vec::new();
        let mut token = None;
        loop {
            let (inner, beginning) = (self.inner.clone(), beginning.to_owned());
            let page = async move { inner.page(&beginning, token, PAGE).await };
            let (mut names, next) = self.wait(self.inner.timeouts.question, page)?;
            listed.append(&mut names);
            token = next;
            if token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// An object's address, for messages.
    pub fn location(&self, name: &str) -> String {
        self.inner.location(name)
    }

    /// Runs work on the runtime and waits for it, at most for the timeout.
    fn wait<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, ObjectError>> + Send + 'static,
    ) -> Result<T, ObjectError> {
        self.end_of(&self.start(timeout, work))
    }

    fn end_of<T>(&self, work: &Underway<T>) -> Result<T, ObjectError> {
        // the channel closes if the runtime ends
        work.outcome.recv().unwrap_or_else(|_| Err(self.inner.unreachable("this process is ending".into())))
    }

    fn start<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, ObjectError>> + Send + 'static,
    ) -> Underway<T> {
        let (sender, outcome) = mpsc::sync_channel(1);
        let inner = self.inner.clone();
        let task = self.runtime.spawn(async move {
            let in_time = tokio::time::timeout(timeout, work).await;
            let late = || Err(inner.unreachable(format!("no answer within {} s", timeout.as_secs_f32())));
            // fails if the caller has stopped waiting
            let _ = sender.send(in_time.unwrap_or_else(|_| late()));
        });
        Underway { outcome, task: task.abort_handle() }
    }
}

/// Work on the runtime. It is aborted when this is dropped.
struct Underway<T> {
    outcome: Receiver<Result<T, ObjectError>>,
    task: AbortHandle,
}

impl<T> Drop for Underway<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
