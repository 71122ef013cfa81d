//! `vouch log follow`: prints each new head of the log and the blocks up to it, until it is interrupted.

use std::time::Duration;

use serde_json::json;
use vouch_core::report::{BlockView, HeadView};
use vouch_node_core::backoff::Backoff;

use super::super::log_args::LogServerArgs;
use super::super::log_client::{FIRST_PAUSE, LONGEST_PAUSE, LogClient, explain};
use super::super::{Failure, output, verdicts};
use crate::client::http::HttpError;
use crate::host::Host;

/// Maximum number of blocks that are shown with one head. Earlier ones are skipped, and the output says so.
const MOST_BLOCKS: u64 = 64;
/// A server that has no newer head waits for one. An answer without one that comes sooner is followed by a pause.
const LEAST_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn follow(host: &Host, args: &LogServerArgs) -> Result<u8, Failure> {
    let mut client = LogClient::of(host, args)?;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut known = None;
    loop {
        let asked = host.monotonic();
        match next(&mut client, known).await {
            Ok(Some((head, blocks))) => {
                backoff.reset();
                print(&head, &blocks, known, args.json);
                known = Some(head.height);
                if output::finish().is_err() {
                    return Ok(0);
                }
            }
            Ok(None) if host.monotonic().saturating_sub(asked) < LEAST_WAIT => host.sleep(backoff.pause()).await,
            Ok(None) => backoff.reset(),
            Err(FollowError::Http(error)) if error.is_passing() => {
                // Say it once: a server that restarts is back in a moment.
                if backoff.is_reset() {
                    output::error_line(format_args!("{error}; trying again"));
                }
                host.sleep(backoff.pause()).await;
            }
            Err(FollowError::Http(error)) => return Err(explain(&error)),
            Err(FollowError::Failure(failure)) => return Err(failure),
        }
    }
}

/// Why there is no next head.
enum FollowError {
    /// The server could not be asked.
    Http(HttpError),
    /// What the server sent does not prove anything.
    Failure(Failure),
}

impl From<HttpError> for FollowError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<Failure> for FollowError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The next head above the known height, with its new blocks. `None` if there is none yet.
async fn next(
    client: &mut LogClient<'_>,
    known: Option<u64>,
) -> Result<Option<(HeadView, Vec<BlockView>)>, FollowError> {
    let path = format!("/v1/log/head?after={}", known.unwrap_or(0));
    let bundle = client.ask(&path).await?;
    if bundle.is_empty() {
        return Ok(None);
    }
    let head = client.head(&bundle, known.map(|height| height + 1)).await?;
    // The first head comes with its own block only: the log may be long.
    let first = known.map_or(head.height, |known| known + 1).max((head.height + 1).saturating_sub(MOST_BLOCKS));
    let mut blocks = Vec::new();
    for height in first..=head.height {
        let bundle = client.ask(&format!("/v1/log/blocks/{height}")).await?;
        blocks.push(client.block(&bundle, height).await?);
    }
    Ok(Some((head, blocks)))
}

fn print(head: &HeadView, blocks: &[BlockView], known: Option<u64>, json: bool) {
    if json {
        return output::json(&json!({ "head": head, "blocks": blocks }));
    }
    let first = blocks.first().map_or(head.height, |block| block.height);
    if let Some(known) = known.filter(|known| known + 1 < first) {
        output::line(format_args!("blocks {} to {} are not shown", known + 1, first - 1));
    }
    for block in blocks {
        for op in &block.ops {
            output::line(format_args!("block {}  {}", block.height, verdicts::op_text(op)));
        }
    }
    output::line(format_args!(
        "head {} of {}, certified by {} of {} members",
        head.height,
        output::time(head.time),
        head.signers,
        head.members
    ));
}
