//! The token that a request over HTTP names. The server then signs in its holder's place, so the holder trusts the server.

use hyper::header::{self, HeaderMap};
use vouch_core::access::TokenSecret;

use super::problem::Problem;

/// The secret in `Authorization: Bearer`, if that header is there.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<TokenSecret>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default();
    let (scheme, secret) = value.split_once(' ').unwrap_or((value, ""));
    // A proxy may ask for a name of its own, and pass on what it was given.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    // The text may be a secret, so it is not shown.
    let refused =
        |_| Problem::bad_request("Authorization: expected Bearer and the secret of a token, got another text");
    secret.trim().parse().map(Some).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_of_a_token_is_taken() {
        let secret = TokenSecret::text_of(&[7; 32]);
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token(&headers)
        };
        assert!(token(&HeaderMap::new()).unwrap().is_none());
        let key = TokenSecret::from_bytes(&[7; 32]).key();
        for value in [format!("Bearer {secret}"), format!("bearer  {secret}")] {
            assert_eq!(of(&value).unwrap().map(|token| token.key()), Some(key), "{value}");
        }
        for value in [format!("Basic {secret}"), secret.clone()] {
            assert!(of(&value).unwrap().is_none(), "{value}");
        }
        for value in ["Bearer".into(), "Bearer x".into(), format!("Bearer {secret}x")] {
            assert!(of(&value).is_err(), "{value}");
        }
    }
}
