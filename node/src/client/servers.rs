//! The servers that a client was given, and why each of them failed.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::session::{Attempts, Fault, Retry};
use vouch_core::verify::Trust;

use super::{ClientError, PutLink, fault};
use crate::host::Host;

/// Addresses of servers of one cluster: at least one, each once, in the order in which a client tries them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    first: String,
    others: Vec<String>,
}

impl Servers {
    /// `None` without an address.
    pub fn new(addresses: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut addresses = addresses.into_iter();
        let mut servers = Self { first: addresses.next()?, others: Vec::new() };
        for address in addresses {
            if servers.iter().all(|known| known != address) {
                servers.others.push(address);
            }
        }
        Some(servers)
    }

    /// The address that is tried first.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// All addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.others).map(String::as_str)
    }

    /// The number of addresses.
    pub fn count(&self) -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add(self.others.len())
    }

    /// The address at this place; the first one if there is none.
    pub fn at(&self, place: usize) -> &str {
        self.iter().nth(place).unwrap_or(&self.first)
    }
}

impl From<&str> for Servers {
    fn from(address: &str) -> Self {
        Self { first: address.to_owned(), others: Vec::new() }
    }
}

impl From<String> for Servers {
    fn from(first: String) -> Self {
        Self { first, others: Vec::new() }
    }
}

/// `A`, or `A, B and C`.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for (place, address) in self.others.iter().enumerate() {
            write!(f, "{}{address}", if place + 1 == self.others.len() { " and " } else { ", " })?;
        }
        Ok(())
    }
}

/// The next attempt after one that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAttempt {
    /// Why the last attempt failed, for people.
    pub why: String,
    /// How long to wait before.
    pub pause: Duration,
    /// The server, if it is another one than before.
    pub server: Option<String>,
}

/// The servers of one put or get, and the last error of each.
#[derive(Debug)]
pub struct ServerTrials {
    servers: Servers,
    errors: Vec<Option<Arc<ClientError>>>,
}

impl ServerTrials {
    /// Before the first attempt.
    pub fn new(servers: Servers) -> Self {
        let errors = servers.iter().map(|_| None).collect();
        Self { servers, errors }
    }

    /// The server of the next attempt.
    pub fn server(&self, retry: &Retry) -> &str {
        self.servers.at(retry.server())
    }

    /// Decides about the attempt after one that failed. `is_spent`: the bytes to put could be read only once, and were.
    ///
    /// # Errors
    /// There is none: the error; [`ClientError::GaveUp`] after several attempts; [`ClientError::EveryServer`] if there are several servers, and
    /// the client itself is not at fault; [`ClientError::ReadOnce`] if another attempt could have succeeded.
    pub fn failed(
        &mut self,
        retry: &mut Retry,
        error: ClientError,
        host: &Host,
        is_spent: bool,
    ) -> Result<NextAttempt, ClientError> {
        let fault = fault(&error);
        let at = retry.server();
        let [random] = host.random();
        let is_one_of_several = self.errors.len() > 1;
        let Some(pause) = retry.pause(fault, host.monotonic(), random) else {
            return Err(match fault {
                Fault::Local => error,
                _ if is_one_of_several => self.every_server(at, error),
                _ if retry.attempts() > 1 && retry.may_pass(fault) => {
                    ClientError::GaveUp { attempts: retry.attempts(), error: Box::new(error) }
                }
                _ => error,
            });
        };
        if is_spent {
            return Err(ClientError::ReadOnce(Box::new(error)));
        }
        let (server, text) = (self.servers.at(at), error.to_string());
        // Some errors name the server already.
        let why = if is_one_of_several && !text.contains(server) { format!("{server}: {text}") } else { text };
        self.keep(at, error);
        let server = (retry.server() != at).then(|| self.server(retry).to_owned());
        Ok(NextAttempt { why, pause, server })
    }

    fn keep(&mut self, at: usize, error: ClientError) {
        if let Some(last) = self.errors.get_mut(at) {
            *last = Some(Arc::new(error));
        }
    }

    fn every_server(&mut self, at: usize, error: ClientError) -> ClientError {
        self.keep(at, error);
        let errors = self.servers.iter().zip(&self.errors);
        let errors = errors.filter_map(|(server, error)| Some((server.to_owned(), error.clone()?)));
        ClientError::EveryServer(errors.collect())
    }
}

/// Opens a link to the first of the servers that shows committees to trust. Returns also its address. Each server is tried once, and is given
/// `patience` to show its committees.
///
/// # Errors
/// See [`ClientError`].
pub async fn open_known(
    host: &Host,
    servers: &Servers,
    trusted: Trust,
    patience: Duration,
    tell: impl Fn(&NextAttempt),
) -> Result<(PutLink, String), ClientError> {
    let mut attempts = Attempts::new(trusted, Duration::ZERO).among(servers.count());
    let mut trials = ServerTrials::new(servers.clone());
    loop {
        let server = trials.server(&attempts.retry).to_owned();
        let opening = async {
            let link = PutLink::open_with(host, &server, attempts.link_options()).await?;
            // The link opens before the committees are verified. A server without a committee shows none.
            let late = |_| ClientError::NoCommittee { server: server.clone(), waited: patience };
            host.timeout(patience, link.known_chain()).await.map_err(late)??;
            Ok(link)
        };
        match opening.await {
            Ok(link) => return Ok((link, server)),
            Err(error) => tell(&trials.failed(&mut attempts.retry, error, host, false)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkError;

    const MINUTE: Duration = Duration::from_secs(60);

    fn servers(addresses: &[&str]) -> Servers {
        Servers::new(addresses.iter().map(|address| (*address).to_owned())).unwrap()
    }

    fn closed() -> ClientError {
        LinkError::Closed("bye".into()).into()
    }

    fn trials(addresses: &[&str], limit: Duration) -> (ServerTrials, Retry) {
        let servers = servers(addresses);
        let mut retry = Retry::new(limit).among(servers.count());
        retry.opened();
        (ServerTrials::new(servers), retry)
    }

    #[test]
    fn servers_are_listed_once_and_in_order() {
        assert_eq!(Servers::new([]), None);
        let three = servers(&["a:1", "b:1", "a:1", "c:1", "b:1"]);
        assert_eq!(three.iter().collect::<Vec<_>>(), ["a:1", "b:1", "c:1"]);
        assert_eq!(three.to_string(), "a:1, b:1 and c:1");
        assert_eq!((three.count().get(), three.at(1), three.at(9)), (3, "b:1", "a:1"));
        assert_eq!(servers(&["a:1"]), "a:1".into());
    }

    #[test]
    fn gave_up_is_reported_only_after_several_attempts() {
        let host = Host::system();
        // The limit leaves no time for a second attempt.
        let (mut trials_of_one, mut retry) = trials(&["a:1"], Duration::from_millis(1));
        let error = trials_of_one.failed(&mut retry, closed(), &host, false);
        assert!(matches!(error, Err(ClientError::Link(_))));
        let (mut trials, mut retry) = trials(&["a:1"], Duration::from_millis(350));
        assert!(trials.failed(&mut retry, closed(), &host, false).is_ok());
        loop {
            match trials.failed(&mut retry, closed(), &host, false) {
                Ok(_) => {}
                Err(ClientError::GaveUp { attempts, .. }) => break assert_eq!(attempts, retry.attempts()),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn the_error_after_every_server_names_each() {
        let host = Host::system();
        let (mut trials, mut retry) = trials(&["a:1", "b:1"], MINUTE);
        let next = trials.failed(&mut retry, LinkError::TooLarge("1 GiB".into()).into(), &host, false).unwrap();
        assert_eq!((next.pause, next.server.as_deref()), (Duration::ZERO, Some("b:1")));
        assert_eq!(trials.server(&retry), "b:1");
        assert!(next.why.starts_with("a:1: "), "{}", next.why);
        let error = trials.failed(&mut retry, LinkError::TooLarge("2 GiB".into()).into(), &host, false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("; a:1: ") && text.contains("; b:1: "), "{text}");
    }

    #[test]
    fn bytes_that_are_gone_end_a_put_whose_server_fails() {
        let host = Host::system();
        let (mut trials, mut retry) = trials(&["a:1", "b:1"], MINUTE);
        let error = trials.failed(&mut retry, closed(), &host, true).unwrap_err();
        assert!(matches!(error, ClientError::ReadOnce(_)), "{error}");
        let local = trials.failed(&mut retry, ClientError::Sink("full".into()), &host, false).unwrap_err();
        assert!(matches!(local, ClientError::Sink(_)), "{local}");
    }
}
