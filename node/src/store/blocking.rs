//! Work on a store that blocks until the disk has answered.

use super::StoreError;
use crate::host::Host;

/// Runs blocking work on a store on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match host.spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Task(error.to_string())),
    }
}
