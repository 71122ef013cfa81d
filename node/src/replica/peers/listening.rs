//! The socket on which a replica accepts connections of other members.

use std::io;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::peer_frame::MemberAddress;

use crate::host::Host;
use crate::host::net::Listener;

/// Why a replica cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be resolved or is in use.
    #[error("cannot listen for other members on {address}: {error}; choose another with --listen ADDRESS:PORT")]
    Bind {
        /// The address.
        address: String,
        /// The system's error.
        error: io::Error,
    },
    /// It listens on all addresses of the machine, so that it does not know one to announce.
    #[error(
        "--listen {listening}: expected an address that other members can dial, got none; add --advertise HOST:PORT"
    )]
    NoAddress {
        /// The address.
        listening: String,
    },
    /// The address cannot be announced.
    #[error("--listen {listening}: {error}; add --advertise HOST:PORT")]
    Address {
        /// The address.
        listening: String,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// A socket on which members are accepted, and the address that this end announces for it.
#[derive(Debug)]
pub(in crate::replica) struct Listening {
    pub(super) listener: Box<dyn Listener>,
    pub(in crate::replica) announced: MemberAddress,
}

/// Listens on `address`, if there is one. `advertise`: the address to announce; the one listened on by default.
pub(in crate::replica) async fn listen(
    host: &Host,
    address: Option<&str>,
    advertise: Option<MemberAddress>,
) -> Result<Option<Listening>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |error| ListenError::Bind { address: address.to_owned(), error };
    let listener = host.listen(address).await.map_err(failed)?;
    let announced = match advertise {
        Some(announced) => announced,
        None => {
            let local = listener.local_addr().map_err(failed)?;
            let listening = local.to_string();
            if local.ip().is_unspecified() {
                return Err(ListenError::NoAddress { listening });
            }
            listening.parse().map_err(|error| ListenError::Address { listening, error })?
        }
    };
    Ok(Some(Listening { listener, announced }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_announced_address_is_one_that_others_can_dial() {
        let host = Host::system();
        assert!(listen(&host, None, None).await.unwrap().is_none());
        let listening = listen(&host, Some("127.0.0.1:0"), None).await.unwrap().unwrap();
        assert_eq!(listening.announced.as_str(), listening.listener.local_addr().unwrap().to_string());
        let taken = listen(&host, Some(listening.announced.as_str()), None).await.unwrap_err();
        assert!(matches!(taken, ListenError::Bind { .. }), "{taken}");
        let nowhere = listen(&host, Some("0.0.0.0:0"), None).await.unwrap_err();
        assert!(matches!(nowhere, ListenError::NoAddress { .. }), "{nowhere}");
        let announced: MemberAddress = "replica-1.example:9091".parse().unwrap();
        let listening = listen(&host, Some("0.0.0.0:0"), Some(announced.clone())).await.unwrap().unwrap();
        assert_eq!(listening.announced, announced);
    }
}
