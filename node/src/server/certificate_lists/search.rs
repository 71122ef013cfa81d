//! Searches for one blob's certificate at the members.

use std::sync::Arc;

use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::message::Message;
use vouch_node_core::server::certificate_search::{CertificateSearch, SearchInput, SearchOutput};

use super::{CertificateLists, verified};

impl CertificateLists {
    /// Asks all connected members for the certificate of one blob, and keeps the best valid one.
    pub(super) async fn search(&self, digest: Digest) -> Option<Certificate> {
        let chain = self.links.chain()?;
        let _turn = self.searches.acquire().await.ok()?;
        let stream = self.links.numbers().next();
        let mut search = CertificateSearch::new(digest, self.links.connected(), self.links.now());
        let mut replies = self.links.replies(stream, search.awaited().len());
        let asked = self.links.ask(search.awaited(), &Message::FindCertificate { stream, digest });
        let mut input = SearchInput::Asked(asked);
        let best = loop {
            input = match search.handle(input, self.links.now()) {
                Some(SearchOutput::Over(best)) => break *best?,
                Some(SearchOutput::Verify(certificate)) => {
                    let valid = verified(self.links.host(), vec![*certificate], &chain).await;
                    SearchInput::Verified(valid.ok().and_then(|mut valid| valid.pop()).map(Box::new))
                }
                None => match replies.next(search.next_tick()).await {
                    Some(reply) => SearchInput::of_reply(reply.member, reply.message),
                    None => SearchInput::Tick,
                },
            };
        };
        drop(replies);
        if let Err(error) = self.archive.save(Arc::new(vec![best.clone()])).await {
            self.report_trouble(format!("cannot save certificates: {error}"));
        }
        Some(best)
    }
}
