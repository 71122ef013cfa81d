//! A shared value that is replaced from time to time, with followers that wait for the next one.
//!
//! Followers wake in the order in which they began to wait. With a channel that wakes them in random order, a simulation would not be
//! repeatable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The owner's end. When it is dropped, the followers stop waiting.
#[derive(Debug)]
pub(crate) struct Latest<T>(Arc<Versions<T>>);

#[derive(Debug)]
struct Versions<T> {
    state: Mutex<Current<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Current<T> {
    value: T,
    /// Number of replacements.
    version: u64,
    is_closed: bool,
}

/// A follower of the values.
#[derive(Debug)]
pub(crate) struct Follower<T> {
    versions: Arc<Versions<T>>,
    seen: u64,
}

/// The owner is gone: there will be no other value.
#[derive(Debug)]
pub(crate) struct Closed;

impl<T> Versions<T> {
    fn state(&self) -> MutexGuard<'_, Current<T>> {
        // Recover from poisoning: every change leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Latest<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = Mutex::new(Current { value, version: 0, is_closed: false });
        Self(Arc::new(Versions { state, changed: Notify::new() }))
    }

    pub(crate) fn get(&self) -> T {
        self.0.state().value.clone()
    }

    pub(crate) fn replace(&self, value: T) {
        {
            let mut state = self.0.state();
            state.value = value;
            state.version += 1;
        }
        self.0.changed.notify_waiters();
    }

    /// A follower that waits for the values after the current one.
    pub(crate) fn follow(&self) -> Follower<T> {
        let seen = self.0.state().version;
        Follower { versions: self.0.clone(), seen }
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Follower<T> {
    /// The current value. It then counts as seen.
    pub(crate) fn see(&mut self) -> T {
        let state = self.versions.state();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits for a value that was not seen. It then counts as seen.
    ///
    /// # Errors
    /// [`Closed`].
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Register before the check, so that a value that comes in between wakes this task.
            let changed = self.versions.changed.notified();
            {
                let state = self.versions.state();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(());
                }
                if state.is_closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_follower_sees_the_last_value_once() {
        let latest = Latest::new(1);
        let (mut early, mut late) = (latest.follow(), latest.follow());
        latest.replace(2);
        latest.replace(3);
        early.changed().await.unwrap();
        assert_eq!(early.see(), 3);
        assert_eq!(late.see(), 3);
        let waiting = tokio::spawn(async move {
            late.changed().await.unwrap();
            let seen = late.see();
            (seen, late.changed().await.is_err())
        });
        tokio::task::yield_now().await;
        latest.replace(4);
        tokio::task::yield_now().await;
        drop(latest);
        assert_eq!(waiting.await.unwrap(), (4, true));
        early.changed().await.unwrap();
        early.changed().await.unwrap_err();
    }
}
