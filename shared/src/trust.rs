//! Decides which cluster identity a client trusts. The command line and the page use the same rules.
//!
//! An identity named by the user comes first, then one recorded at an earlier visit, and only then the server's own: trust on first
//! use. A server that shows another identity than the trusted one is refused.

use serde::Serialize;

/// All identities that are known for a server. `I` is an identity, or its canonical text.
#[derive(Debug, Clone)]
pub struct KnownIdentities<I> {
    /// Entered by the user, for example as a flag.
    pub given: Option<I>,
    /// Named by the address that opened the page.
    pub address: Option<I>,
    /// The address names an identity that does not parse.
    pub is_address_malformed: bool,
    /// Recorded for this server.
    pub remembered: Option<I>,
    /// The user has compared the recorded identity with what the operators publish.
    pub was_compared: bool,
    /// Accepted from the server on first use, earlier in this visit.
    pub taken: Option<I>,
    /// Shown by the server now.
    pub shown: Option<I>,
}

impl<I> Default for KnownIdentities<I> {
    fn default() -> Self {
        Self {
            given: None,
            address: None,
            is_address_malformed: false,
            remembered: None,
            was_compared: false,
            taken: None,
            shown: None,
        }
    }
}

/// The state of trust in a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustState {
    /// No identity is known yet.
    None,
    /// The identity that the user named does not parse. No server is trusted: falling back to the server's own identity would give less
    /// than the user asked for.
    Malformed,
    /// The identity is the server's own claim.
    FirstUse,
    /// The identity was known before the server showed one.
    Trusted,
    /// The server shows another identity.
    Refused,
}

/// Where the trusted identity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentitySource {
    /// The user entered it.
    Given,
    /// The address that opened the page.
    Address,
    /// An earlier visit.
    Remembered,
    /// The server.
    FirstUse,
}

/// The decision which identity to trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustDecision<I> {
    /// The state of trust.
    pub state: TrustState,
    /// The identity that certificates are verified with.
    pub identity: Option<I>,
    /// Where the identity comes from.
    pub source: Option<IdentitySource>,
    /// The user knows the identity from a source other than the server.
    pub compared: bool,
    /// The named identity is not the one recorded for this server.
    pub differs_from_remembered: bool,
    /// Record the identity for this server now. A recorded identity is never replaced by another one without the user's consent.
    pub record: bool,
}

/// Decides which identity to trust.
pub fn decide<I: PartialEq + Clone>(known: &KnownIdentities<I>) -> TrustDecision<I> {
    let KnownIdentities { given, address, is_address_malformed, remembered, was_compared, taken, shown } = known;
    let nothing = |state| TrustDecision {
        state,
        identity: None,
        source: None,
        compared: false,
        differs_from_remembered: false,
        record: false,
    };
    if given.is_none() && *is_address_malformed {
        return nothing(TrustState::Malformed);
    }
    let candidates = [
        (given, IdentitySource::Given),
        (address, IdentitySource::Address),
        (remembered, IdentitySource::Remembered),
        (taken, IdentitySource::FirstUse),
        (shown, IdentitySource::FirstUse),
    ];
    let Some((identity, source)) =
        candidates.into_iter().find_map(|(identity, source)| identity.as_ref().map(|identity| (identity, source)))
    else {
        return nothing(TrustState::None);
    };
    let is_named = matches!(source, IdentitySource::Given | IdentitySource::Address);
    let is_refused = shown.as_ref().is_some_and(|shown| shown != identity);
    let differs_from_remembered = is_named && remembered.as_ref().is_some_and(|remembered| remembered != identity);
    let record = shown.is_some()
        && !is_refused
        && match source {
            IdentitySource::FirstUse => taken.is_none(),
            // Record only an identity that the server confirms, and never replace another one: anyone can make a link.
            IdentitySource::Address => !differs_from_remembered,
            IdentitySource::Given | IdentitySource::Remembered => false,
        };
    TrustDecision {
        state: match source {
            _ if is_refused => TrustState::Refused,
            IdentitySource::FirstUse => TrustState::FirstUse,
            _ => TrustState::Trusted,
        },
        identity: Some(identity.clone()),
        source: Some(source),
        compared: is_named || source == IdentitySource::Remembered && *was_compared,
        differs_from_remembered,
        record,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<char> = Some('A');
    const B: Option<char> = Some('B');

    fn known() -> KnownIdentities<char> {
        KnownIdentities::default()
    }

    fn outcome(known: KnownIdentities<char>) -> (TrustState, Option<char>, Option<IdentitySource>, bool) {
        let TrustDecision { state, identity, source, record, .. } = decide(&known);
        (state, identity, source, record)
    }

    #[test]
    fn named_identity_precedes_the_remembered_one_and_that_the_servers() {
        use IdentitySource::{Address, FirstUse, Given, Remembered};
        let (trusted, first) = (TrustState::Trusted, TrustState::FirstUse);
        assert_eq!(outcome(known()), (TrustState::None, None, None, false));
        let shown = KnownIdentities { shown: A, ..known() };
        assert_eq!(outcome(shown.clone()), (first, A, Some(FirstUse), true));
        assert_eq!(outcome(KnownIdentities { taken: A, ..shown.clone() }), (first, A, Some(FirstUse), false));
        let remembered = KnownIdentities { remembered: A, ..shown };
        assert_eq!(outcome(remembered.clone()), (trusted, A, Some(Remembered), false));
        let address = KnownIdentities { address: A, ..remembered };
        assert_eq!(outcome(address.clone()), (trusted, A, Some(Address), true));
        let given = KnownIdentities { given: A, address: B, ..address };
        assert_eq!(outcome(given), (trusted, A, Some(Given), false));
    }

    #[test]
    fn server_that_shows_another_identity_is_refused_and_never_recorded() {
        for known in [
            KnownIdentities { remembered: A, ..known() },
            KnownIdentities { address: A, ..known() },
            KnownIdentities { given: A, ..known() },
            KnownIdentities { taken: A, ..known() },
        ] {
            let decision = decide(&KnownIdentities { shown: B, ..known });
            assert_eq!((decision.state, decision.identity, decision.record), (TrustState::Refused, A, false));
        }
    }

    #[test]
    fn malformed_address_trusts_nobody_until_the_user_enters_an_identity() {
        let malformed = KnownIdentities { is_address_malformed: true, remembered: A, shown: A, ..known() };
        assert_eq!(outcome(malformed.clone()), (TrustState::Malformed, None, None, false));
        let given = KnownIdentities { given: A, ..malformed };
        assert_eq!(outcome(given), (TrustState::Trusted, A, Some(IdentitySource::Given), false));
    }

    #[test]
    fn address_never_replaces_what_is_remembered() {
        let decision = decide(&KnownIdentities { address: B, remembered: A, shown: B, ..known() });
        assert_eq!((decision.state, decision.differs_from_remembered), (TrustState::Trusted, true));
        assert!(!decision.record);
        assert!(!decide(&KnownIdentities { address: A, ..known() }).record, "the server has not agreed");
    }

    #[test]
    fn comparison_with_the_operators_is_remembered() {
        let remembered = KnownIdentities { remembered: A, shown: A, ..known() };
        assert!(!decide(&remembered).compared);
        assert!(decide(&KnownIdentities { was_compared: true, ..remembered.clone() }).compared);
        assert!(decide(&KnownIdentities { given: A, ..remembered }).compared);
        assert!(!decide(&KnownIdentities { shown: A, was_compared: true, ..known() }).compared, "of nothing recorded");
    }
}
