//! The list of the certificates kept here, and how far other lists were read.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::message::{ListPage, ListPosition};

use super::{CERTIFICATES, Index};
use crate::durable::{DurableError, listing};
use crate::host::entropy;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let certificates = transaction.open_table(CERTIFICATES)?;
    let keys = || certificates.iter()?.map(|row| Ok(row?.0.value())).collect();
    listing::create(transaction, entropy::array(), certificates.len()?, keys)
}

impl Index {
    /// The certificates after a position: `size` bytes of them, and the last one may go beyond.
    pub(in super::super) fn list(&self, from: ListPosition, size: usize) -> Result<ListPage, DurableError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            let (mut certificates, mut taken) = (Vec::new(), 0);
            let (end, more) = listing::read(transaction, from, |digest| {
                if let Some(row) = table.get(digest)? {
                    let encoding = row.value().1;
                    taken += encoding.len();
                    // one that is damaged is listed by the others
                    certificates.extend(Certificate::decode(encoding, &Limits::default()));
                }
                Ok(taken < size)
            })?;
            Ok(ListPage { end, more, certificates })
        })
    }

    /// How far other lists were read, by the node key of their owner.
    pub(in super::super) fn lists_read(&self) -> Result<Vec<([u8; 32], ListPosition)>, DurableError> {
        self.0.read(listing::positions)
    }

    pub(in super::super) async fn remember_lists(
        &self,
        positions: Vec<([u8; 32], ListPosition)>,
    ) -> Result<(), DurableError> {
        let commit = self.0.commit(move |transaction| {
            positions.iter().try_for_each(|(owner, position)| listing::remember(transaction, owner, *position))
        });
        commit.await
    }
}
