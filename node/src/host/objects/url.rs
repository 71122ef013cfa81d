//! The address of a replica's large blobs, as given with `--store`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use percent_encoding::percent_decode_str;
use thiserror::Error;

/// Length of a bucket's name, by S3's rules.
const BUCKET_SIZE: std::ops::RangeInclusive<usize> = 3..=63;
/// Maximum length of a prefix. A key has at most 1024 bytes, of which a blob's name takes 76.
const MAX_PREFIX: usize = 512;
const MAX_REGION: usize = 64;

/// The address of large blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `file:`: files in the replica's own folder. `file:FOLDER`: files in another.
    Files(Option<PathBuf>),
    /// `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`.
    S3(S3Url),
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::Files(None)
    }
}

/// A bucket of an S3 store, and a prefix in it. It never contains credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// The prefix of every key, before a `/`. May be empty.
    pub prefix: String,
    /// `http://HOST:PORT` or `https://HOST:PORT`, without a path. `None`: Amazon's endpoint of the region.
    pub endpoint: Option<String>,
    /// The bucket's region. `None`: that of the environment, or us-east-1.
    pub region: Option<String>,
}

/// Why an address is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreUrlError {
    /// The scheme is unknown.
    #[error("expected file:, file:FOLDER or s3://BUCKET/PREFIX?endpoint=URL")]
    Scheme,
    /// The address contains credentials, which everybody who lists processes could see. The error does not repeat them.
    #[error(
        "expected no user or password in the address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
    )]
    Credentials,
    /// The bucket's name is invalid.
    #[error("expected a bucket of 3 to 63 lowercase letters, digits, dots and hyphens after s3://, got {got:?}")]
    Bucket {
        /// The name.
        got: String,
    },
    /// The prefix is too long, or would change when it is encoded.
    #[error(
        "expected a prefix of at most 512 letters, digits and any of -_.= in parts separated by single slashes, got {got:?}"
    )]
    Prefix {
        /// The prefix.
        got: String,
    },
    /// A parameter is unknown.
    #[error("expected no other parameters than endpoint and region, got {got:?}")]
    Parameter {
        /// Its name.
        got: String,
    },
    /// A parameter occurs twice.
    #[error("expected {name} once")]
    Twice {
        /// Its name.
        name: &'static str,
    },
    /// The endpoint is not a server's address.
    #[error("expected an endpoint such as https://s3.example or http://127.0.0.1:9000, without a path, got {got:?}")]
    Endpoint {
        /// The endpoint.
        got: String,
    },
    /// The region's name is invalid.
    #[error("expected a region of lowercase letters, digits and hyphens, such as eu-central-1, got {got:?}")]
    Region {
        /// The region.
        got: String,
    },
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(folder) = text.strip_prefix("file:") {
            // `file://host/path` would be a file on another host
            return match folder {
                "" => Ok(Self::Files(None)),
                _ if folder.starts_with("//") => Err(StoreUrlError::Scheme),
                _ => Ok(Self::Files(Some(folder.into()))),
            };
        }
        text.strip_prefix("s3://").ok_or(StoreUrlError::Scheme)?.parse().map(Self::S3)
    }
}

/// Parses the text after `s3://`.
impl FromStr for S3Url {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let (place, parameters) = text.split_once('?').unwrap_or((text, ""));
        // check this first, so that no error shows a password
        if place.contains('@') {
            return Err(StoreUrlError::Credentials);
        }
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut url =
            Self { bucket: parse_bucket(bucket)?, prefix: parse_prefix(prefix)?, endpoint: None, region: None };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            let (place, name, value) = match name {
                "endpoint" => (&mut url.endpoint, "endpoint", parse_endpoint(&value)?),
                "region" => (&mut url.region, "region", parse_region(&value)?),
                _ => return Err(StoreUrlError::Parameter { got: name.into() }),
            };
            if place.replace(value).is_some() {
                return Err(StoreUrlError::Twice { name });
            }
        }
        Ok(url)
    }
}

fn parse_bucket(name: &str) -> Result<String, StoreUrlError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_bucket = BUCKET_SIZE.contains(&bytes.len())
        && bytes.iter().all(|&byte| is_plain(byte) || matches!(byte, b'.' | b'-'))
        && [bytes.first(), bytes.last()].into_iter().flatten().all(|&byte| is_plain(byte));
    if is_bucket { Ok(name.into()) } else { Err(StoreUrlError::Bucket { got: name.into() }) }
}

/// Parses a prefix. A `/` at its end is ignored.
fn parse_prefix(text: &str) -> Result<String, StoreUrlError> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
        !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
    };
    let is_prefix = text.is_empty() || prefix.len() <= MAX_PREFIX && prefix.split('/').all(is_part);
    if is_prefix { Ok(prefix.into()) } else { Err(StoreUrlError::Prefix { got: text.into() }) }
}

fn parse_endpoint(text: &str) -> Result<String, StoreUrlError> {
    // check this first, so that no error shows a password
    if text.contains('@') {
        return Err(StoreUrlError::Credentials);
    }
    let refused = || StoreUrlError::Endpoint { got: text.into() };
    let uri: Uri = text.parse().map_err(|_| refused())?;
    match (uri.scheme_str(), uri.authority(), uri.path_and_query().map_or("/", |path| path.as_str())) {
        (Some(scheme @ ("http" | "https")), Some(authority), "/") if !authority.host().is_empty() => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(refused()),
    }
}

fn parse_region(text: &str) -> Result<String, StoreUrlError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = (1..=MAX_REGION).contains(&text.len()) && text.bytes().all(is_plain);
    if is_region { Ok(text.into()) } else { Err(StoreUrlError::Region { got: text.into() }) }
}

impl StoreUrl {
    /// Whether both lead to the same blobs. The endpoint is not compared, because a server may have several addresses.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::S3(one), Self::S3(other)) => (&one.bucket, &one.prefix) == (&other.bucket, &other.prefix),
            (one, other) => one == other,
        }
    }
}

/// The form that is parsed.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(None) => f.write_str("file:"),
            Self::Files(Some(folder)) => write!(f, "file:{}", folder.display()),
            Self::S3(url) => {
                write!(f, "{}", url.place())?;
                let endpoint = url.endpoint.iter().map(|endpoint| ("endpoint", endpoint));
                let parameters = endpoint.chain(url.region.iter().map(|region| ("region", region)));
                for (number, (name, value)) in parameters.enumerate() {
                    write!(f, "{}{name}={value}", if number == 0 { '?' } else { '&' })?;
                }
                Ok(())
            }
        }
    }
}

impl S3Url {
    /// Bucket and prefix: `s3://BUCKET/PREFIX`.
    pub fn place(&self) -> String {
        match self.prefix.as_str() {
            "" => format!("s3://{}", self.bucket),
            prefix => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// The key of an object in the bucket.
    pub fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}/{name}", self.prefix) }
    }

    /// The server's name, for messages.
    pub fn server(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("Amazon S3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StoreUrl, StoreUrlError> {
        text.parse()
    }

    fn s3(text: &str) -> S3Url {
        match parse(text) {
            Ok(StoreUrl::S3(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_file_address_may_name_a_folder() {
        assert_eq!(parse("file:"), Ok(StoreUrl::Files(None)));
        assert_eq!(parse("file:"), Ok(StoreUrl::default()));
        assert_eq!(parse("file:/srv/blobs"), Ok(StoreUrl::Files(Some("/srv/blobs".into()))));
        assert_eq!(parse("file:blobs/one"), Ok(StoreUrl::Files(Some("blobs/one".into()))));
        assert_eq!(parse("file://host/blobs"), Err(StoreUrlError::Scheme));
    }

    #[test]
    fn every_part_of_an_address_is_parsed() {
        let url = s3("s3://blobs.example/a/b=1?endpoint=http://127.0.0.1:9000&region=eu-central-1");
        let expected = S3Url {
            bucket: "blobs.example".into(),
            prefix: "a/b=1".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
            region: Some("eu-central-1".into()),
        };
        assert_eq!(url, expected);
        assert_eq!((url.place().as_str(), url.key("owner").as_str()), ("s3://blobs.example/a/b=1", "a/b=1/owner"));
        let encoded = s3("s3://blobs?endpoint=https%3A%2F%2F%5B%3A%3A1%5D%3A9000%2F");
        assert_eq!(encoded.endpoint.as_deref(), Some("https://[::1]:9000"));
        assert_eq!((encoded.prefix.as_str(), encoded.key("owner").as_str()), ("", "owner"));
        assert_eq!(s3("s3://blobs/a/").prefix, "a");
    }

    #[test]
    fn addresses_round_trip() {
        for text in [
            "file:",
            "file:/srv/blobs",
            "s3://blobs",
            "s3://blobs/a?region=eu-central-1",
            "s3://blobs/a/b?endpoint=http://127.0.0.1:9000&region=eu-central-1",
        ] {
            assert_eq!(parse(text).map(|url| url.to_string()).as_deref(), Ok(text));
        }
        let is_same = |one: &str, other: &str| parse(one).unwrap().is_same_place(&parse(other).unwrap());
        assert!(is_same("s3://blobs/a", "s3://blobs/a/?endpoint=http://127.0.0.1:9000"));
        assert!(!is_same("s3://blobs/a", "s3://blobs/b") && !is_same("s3://blobs/a", "s3://other/a"));
        assert!(!is_same("file:", "file:a") && !is_same("file:", "s3://blobs/a"));
    }

    #[test]
    fn invalid_addresses_are_refused() {
        let long = "a".repeat(513);
        for (text, what) in [
            ("", "file:"),
            ("blobs", "file:"),
            ("https://blobs", "file:"),
            ("S3://blobs", "file:"),
            ("s3:blobs", "file:"),
            ("s3://", "a bucket"),
            ("s3:///a", "a bucket"),
            ("s3://Blobs/a", "a bucket"),
            ("s3://ab/a", "a bucket"),
            ("s3://-blobs/a", "a bucket"),
            ("s3://blobs:9000/a", "a bucket"),
            ("s3://blobs#a", "a bucket"),
            ("s3://blobs//", "a prefix"),
            ("s3://blobs/a//b", "a prefix"),
            ("s3://blobs/../b", "a prefix"),
            ("s3://blobs/a%20b", "a prefix"),
            (&format!("s3://blobs/{long}"), "a prefix"),
            ("s3://blobs/a?endpoint=127.0.0.1:9000", "an endpoint"),
            ("s3://blobs/a?endpoint=", "an endpoint"),
            ("s3://blobs/a?endpoint=ftp://host", "an endpoint"),
            ("s3://blobs/a?endpoint=https://host/path", "an endpoint"),
            ("s3://blobs/a?endpoint=https://host?a=b", "an endpoint"),
            ("s3://blobs/a?region=", "a region"),
            ("s3://blobs/a?region=EU", "a region"),
            ("s3://blobs/a?secret=b", "no other parameters"),
            ("s3://blobs/a?Endpoint=https://host", "no other parameters"),
            ("s3://blobs/a?region=a&region=b", "region once"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("expected {what}")), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in [
            "s3://key:geheim@blobs/a",
            "s3://geheim@blobs/a",
            "s3://blobs/a?endpoint=https://key:geheim@host",
            "s3://blobs/a?endpoint=https%3A%2F%2Fkey%3Ageheim%40host",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, StoreUrlError::Credentials, "{text}");
            assert!(!error.to_string().contains("geheim") && error.to_string().contains("AWS_SECRET_ACCESS_KEY"));
        }
    }
}
