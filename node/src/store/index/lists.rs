//! The list of certificates, and the positions read in other lists.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};
use vouch_node_core::replica::lacking::ListPositions;

use super::about::ABOUT;
use super::certificates::CERTIFICATES;
use super::database::{Change, Index};
use crate::durable::{Changes, DurableError, listing};

/// The latest expiry of the certificates that were skipped, in [`ABOUT`].
const SKIPPED_UNTIL: &str = "certificates passed over until";

pub(super) fn create(transaction: &WriteTransaction, random: [u8; 8]) -> Result<(), redb::Error> {
    let certificates = transaction.open_table(CERTIFICATES)?;
    let keys = || certificates.iter()?.map(|row| Ok(row?.0.value())).collect();
    listing::create(transaction, random, certificates.len()?, keys)
}

impl Index {
    /// See [`super::super::Store::list`].
    pub(in super::super) fn list(
        &self,
        from: ListPosition,
        (filter, epoch, asker): (ListFilter, u64, &NodeKey),
        size: usize,
    ) -> Result<ListPage, DurableError> {
        let asker = listing::origin(&asker.0);
        self.0.read(|transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            let (mut certificates, mut taken) = (Vec::new(), 0);
            let (end, more) = listing::read(transaction, from, |digest, origin| {
                if filter == ListFilter::NotFromAsker && origin == asker {
                    return Ok(true);
                }
                if let Some(row) = table.get(digest)? {
                    let encoding = row.value().1;
                    // skip a damaged certificate: others list it
                    let decoded = Certificate::decode(encoding, &Limits::default()).ok();
                    let is_shown = |certificate: &Certificate| match filter {
                        ListFilter::NotSignedBy(member) => {
                            certificate.epoch != epoch || !certificate.signers.contains(member)
                        }
                        ListFilter::All | ListFilter::NotFromAsker => true,
                    };
                    if let Some(certificate) = decoded.filter(is_shown) {
                        taken += encoding.len();
                        certificates.push(certificate);
                    }
                }
                Ok(taken < size)
            })?;
            Ok(ListPage { end, more, certificates })
        })
    }

    /// See [`super::super::Store::lists_read`].
    pub(in super::super) fn lists_read(&self) -> Result<ListPositions, DurableError> {
        self.0.read(|transaction| {
            let about = transaction.open_table(ABOUT)?;
            let row = about.get(SKIPPED_UNTIL)?;
            let skipped_until = row.and_then(|row| Some(u64::from_le_bytes(row.value().try_into().ok()?)));
            Ok(ListPositions { lists: listing::lists_read(transaction)?, skipped_until: skipped_until.unwrap_or(0) })
        })
    }
}

/// Remembers the positions up to which other lists were read.
pub(in super::super) fn remember(positions: ListPositions) -> impl Change<()> {
    move |transaction: &WriteTransaction| {
        let ListPositions { lists, skipped_until } = &positions;
        transaction.open_table(ABOUT)?.insert(SKIPPED_UNTIL, skipped_until.to_le_bytes().as_slice())?;
        lists.iter().try_for_each(|(owner, position)| listing::remember(transaction, owner, *position))?;
        Ok(((), Changes::Made))
    }
}
