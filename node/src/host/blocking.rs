//! Blocking work and its result.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

/// Blocking work that was started. Dropping it does not end the work.
#[derive(Debug)]
pub struct BlockingWork<T>(pub(super) JoinHandle<T>);

impl<T> Future for BlockingWork<T> {
    type Output = Result<T, BlockingWorkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(BlockingWorkError)
    }
}

/// Why blocking work has no result: it panicked, or the program ends. The text has no task number, because that would differ between
/// two runs of a simulation.
pub struct BlockingWorkError(JoinError);

impl BlockingWorkError {
    /// The value that the work panicked with.
    ///
    /// # Errors
    /// It did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        self.0.try_into_panic().map_err(Self)
    }
}

impl fmt::Display for BlockingWorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_panic() { "a thread panicked" } else { "the program is shutting down" })
    }
}

impl fmt::Debug for BlockingWorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockingWorkError({self})")
    }
}

impl Error for BlockingWorkError {}

#[cfg(test)]
mod tests {
    use crate::host::Host;

    #[tokio::test]
    async fn error_texts_have_no_task_number() {
        let panicked = Host::system().spawn_blocking(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(panicked.to_string(), "a thread panicked");
        assert_eq!(panicked.try_into_panic().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
        let task = Host::system().spawn(std::future::pending::<()>());
        task.abort();
        let cancelled = super::BlockingWork(task).await.unwrap_err();
        assert_eq!(cancelled.to_string(), "the program is shutting down");
        assert!(cancelled.try_into_panic().is_err());
    }
}
