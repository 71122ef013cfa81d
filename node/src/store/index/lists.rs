//! The list of certificates, and the positions read in other lists.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};

use super::{CERTIFICATES, Change, Index};
use crate::durable::{Changes, DurableError, listing};

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
        (filter, asker): (ListFilter, &NodeKey),
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
                        ListFilter::NotSignedBy(member) => !certificate.signers.contains(member),
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
    pub(in super::super) fn lists_read(&self) -> Result<Vec<([u8; 32], ListPosition)>, DurableError> {
        self.0.read(listing::lists_read)
    }
}

/// Remembers the positions up to which other lists were read.
pub(in super::super) fn remember(lists: Vec<([u8; 32], ListPosition)>) -> impl Change<()> {
    move |transaction: &WriteTransaction| {
        lists.iter().try_for_each(|(owner, position)| listing::remember(transaction, owner, *position))?;
        Ok(((), Changes::Made))
    }
}
