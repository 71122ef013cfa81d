//! A value that is replaced now and then, and those who wait for the next one.
//!
//! They wake in the order in which they began to wait: with a channel that wakes them by chance, a run under a seed would not repeat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The owner's end. With it, the waiting ends.
#[derive(Debug)]
pub(crate) struct Latest<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// Counts the values.
    version: u64,
    is_over: bool,
}

/// Somebody who follows the values.
#[derive(Debug)]
pub(crate) struct Follower<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// There will be no other value.
#[derive(Debug)]
pub(crate) struct Over;

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // every change leaves it whole
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Latest<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = Mutex::new(State { value, version: 0, is_over: false });
        Self(Arc::new(Shared { state, changed: Notify::new() }))
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

    /// Follows what comes after the value of now.
    pub(crate) fn follow(&self) -> Follower<T> {
        let seen = self.0.state().version;
        Follower { shared: self.0.clone(), seen }
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Follower<T> {
    /// The value of now, which counts as seen.
    pub(crate) fn see(&mut self) -> T {
        let state = self.shared.state();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits for a value that was not seen; it then counts as seen.
    ///
    /// # Errors
    /// [`Over`].
    pub(crate) async fn changed(&mut self) -> Result<(), Over> {
        loop {
            // begun before the look: a value that comes in between wakes it
            let changed = self.shared.changed.notified();
            {
                let state = self.shared.state();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(());
                }
                if state.is_over {
                    return Err(Over);
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
    async fn every_follower_hears_of_the_last_value_once() {
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
