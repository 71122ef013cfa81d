//! The encoding of foundings, acceptances and refusals. It is the same on links and in files.

use std::collections::BTreeMap;

use super::{FoundingMessage, Refusal};
use crate::bls::VoteSignature;
use crate::codec::{DecodeError, Reader, in_range, write_count};
use crate::committee::{CommitteeError, read_genesis};
use crate::digest::CommitteeDigest;
use crate::limits::MAX_MEMBERS;
use crate::link::NodeKey;

/// Writes the committee, length first; the proofs of possession; the bitmap of the members that accepted; their acceptances.
pub(crate) fn write_founding(founding: &FoundingMessage, out: &mut Vec<u8>) {
    let committee = founding.genesis.encode();
    write_count(out, committee.len());
    out.extend_from_slice(&committee);
    for possession in &founding.possessions {
        out.extend_from_slice(&possession.0);
    }
    let mut bitmap = vec![0_u8; usize::from(founding.genesis.n()).div_ceil(8)];
    for member in founding.acceptances.keys() {
        if let Some(byte) = bitmap.get_mut(usize::from(member / 8)) {
            *byte |= 1 << (member % 8);
        }
    }
    out.extend_from_slice(&bitmap);
    for signature in founding.acceptances.values() {
        out.extend_from_slice(&signature.0);
    }
}

pub(crate) fn read_founding(reader: &mut Reader<'_>) -> Result<FoundingMessage, CommitteeError> {
    let (genesis, possessions) = read_genesis(reader)?;
    let n = genesis.n();
    let bitmap = reader.take("bitmap of acceptances", usize::from(n).div_ceil(8))?;
    let is_set = |member: u16| bitmap.get(usize::from(member / 8)).is_some_and(|byte| byte >> (member % 8) & 1 == 1);
    // Reject spare bits: otherwise one founding has two encodings.
    let last = bitmap.last().copied().unwrap_or_default();
    if let Some(spare) = (n..n.next_multiple_of(8)).find(|member| is_set(*member)) {
        let got = format!("{last:#010b}, with a bit for member {spare}");
        let expected = "zero beyond the last member";
        return Err(DecodeError::BadText { field: "bitmap of acceptances", expected, got }.into());
    }
    let acceptances = (0..n)
        .filter(|member| is_set(*member))
        .map(|member| Ok((member, VoteSignature(reader.array("acceptance")?))))
        .collect::<Result<BTreeMap<_, _>, DecodeError>>()?;
    Ok(FoundingMessage { genesis, possessions, acceptances })
}

pub(crate) fn read_acceptances(reader: &mut Reader<'_>) -> Result<Vec<(u16, VoteSignature)>, DecodeError> {
    let count = reader.u16("number of acceptances")?;
    in_range("number of acceptances", count.into(), 1, MAX_MEMBERS.into())?;
    let mut acceptances: Vec<(u16, VoteSignature)> = Vec::new();
    for _ in 0..count {
        let member = reader.u16("member")?;
        let least = acceptances.last().map_or(0, |(last, _)| u64::from(*last) + 1);
        in_range("member, ascending", member.into(), least, u64::from(MAX_MEMBERS) - 1)?;
        acceptances.push((member, VoteSignature(reader.array("acceptance")?)));
    }
    Ok(acceptances)
}

pub(crate) fn write_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    out.extend_from_slice(&refusal.refused.0);
    out.extend_from_slice(&refusal.accepted.0);
    out.extend_from_slice(&refusal.node_key.0);
    out.extend_from_slice(&refusal.signature);
}

pub(crate) fn read_refusal(reader: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
    Ok(Refusal {
        refused: CommitteeDigest(reader.array("founding refused")?),
        accepted: CommitteeDigest(reader.array("founding accepted")?),
        node_key: NodeKey(reader.array("node key")?),
        signature: reader.array("signature")?,
    })
}
