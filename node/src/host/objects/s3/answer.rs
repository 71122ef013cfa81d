//! Interpreting the answers of an S3 store.

use std::error::Error as StdError;
use std::fmt;

use object_store::client::HttpError;

use super::{ObjectError, RequestKind, S3Url};

/// Maximum number of characters of an answer that an error shows.
const MAX_SHOWN: usize = 200;

/// Converts the library's error.
pub(super) fn error_of(url: &S3Url, request: RequestKind, name: &str, error: &object_store::Error) -> ObjectError {
    let server = url.server().to_owned();
    let object = format!("s3://{}/{}", url.bucket, url.key(name));
    if let Some(transport) = sources(error).find_map(|source| source.downcast_ref::<HttpError>()) {
        return ObjectError::Unreachable { server, cause: innermost(transport) };
    }
    let answer = Answer::of(error);
    match (answer.status, answer.code.as_deref()) {
        (Some(507), _) | (_, Some("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded")) => {
            ObjectError::NoSpace { server, object }
        }
        (_, Some("NoSuchBucket")) => ObjectError::NoBucket { server, bucket: url.bucket.clone() },
        (_, Some("NoSuchKey")) => ObjectError::NotFound { object },
        // the answer to a HEAD request has no body
        (Some(404), None) if answer.is_silent => ObjectError::NotFound { object },
        (Some(401 | 403), _) | (_, Some("ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId")) => {
            ObjectError::Denied { server, request, object, answer: answer.to_string() }
        }
        (_, Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")) => {
            let answer = format!("{answer}; name the bucket's region in --store, as in &region=eu-central-1");
            ObjectError::Refused { server, request, object, answer }
        }
        _ => ObjectError::Refused { server, request, object, answer: answer.to_string() },
    }
}

/// Whether the requested range begins after the object's end.
pub(super) fn is_beyond_the_end(error: &object_store::Error) -> bool {
    Answer::of(error).status == Some(416)
}

/// A store's answer, parsed from the library's error text: the library does not expose status and body otherwise.
struct Answer {
    status: Option<u16>,
    code: Option<String>,
    /// Whether the answer had no body.
    is_silent: bool,
    text: String,
}

impl Answer {
    fn of(error: &object_store::Error) -> Self {
        let text = sources(error).last().map_or_else(|| error.to_string(), ToString::to_string);
        let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let code = code.map(|(code, _)| code).filter(is_code).map(str::to_owned);
        Self { status, code, is_silent: text.trim_end().ends_with(':'), text }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, "{status} {code}"),
            (Some(status), None) => write!(f, "{status}"),
            (None, Some(code)) => f.write_str(code),
            (None, None) => f.write_str(&shown(&self.text)),
        }
    }
}

/// An error and its chain of causes.
fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn StdError + 'static)| (*error).source())
}

/// The innermost cause of an error, for messages.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    shown(&sources(error).last().map_or_else(String::new, ToString::to_string))
}

/// A text from outside, bounded and on one line.
pub(super) fn shown(text: &str) -> String {
    let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    one_line.take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for an answer in the library's form.
    fn meaning(answer: &str) -> ObjectError {
        let url: S3Url = "blobs/a?endpoint=http://127.0.0.1:9000".parse().unwrap();
        let text = format!("Server returned non-2xx status code: {answer}");
        let error = object_store::Error::Generic { store: "S3", source: text.into() };
        error_of(&url, RequestKind::Write, "blobs/b", &error)
    }

    #[test]
    fn answers_are_classified() {
        let code = |status: &str, code: &str| meaning(&format!("{status}: <Error><Code>{code}</Code></Error>"));
        let (server, object) = ("http://127.0.0.1:9000".to_owned(), "s3://blobs/a/blobs/b".to_owned());
        let no_space = ObjectError::NoSpace { server: server.clone(), object: object.clone() };
        assert_eq!(code("507 Insufficient Storage", "XMinioStorageFull"), no_space);
        assert_eq!(meaning("507 Insufficient Storage: "), no_space);
        // status 403, but not a matter of credentials
        assert_eq!(code("403 Forbidden", "QuotaExceeded"), no_space);
        assert_eq!(code("404 Not Found", "NoSuchBucket"), ObjectError::NoBucket { server, bucket: "blobs".into() });
        let absent = ObjectError::NotFound { object };
        assert_eq!(code("404 Not Found", "NoSuchKey"), absent);
        assert_eq!(meaning("404 Not Found: "), absent);
        for (status, name) in
            [("403 Forbidden", "AccessDenied"), ("401 Unauthorized", "Any"), ("400 Bad", "ExpiredToken")]
        {
            let error = code(status, name);
            assert!(matches!(&error, ObjectError::Denied { answer, .. } if answer.ends_with(name)), "{error}");
        }
        let error = code("301 Moved Permanently", "PermanentRedirect");
        assert!(matches!(&error, ObjectError::Refused { .. }) && error.to_string().contains("&region="), "{error}");
        assert!(matches!(code("400 Bad RequestKind", "EntityTooLarge"), ObjectError::Refused { .. }));
    }

    #[test]
    fn a_404_of_another_service_does_not_mean_a_missing_object() {
        let error = meaning("404 Not Found: <html>\u{1b}[31mno such page</html>");
        assert!(matches!(&error, ObjectError::Refused { answer, .. } if answer == "404"), "{error:?}");
        assert!(!shown("a\nb\u{1b}").contains(char::is_control));
        assert_eq!(shown(&"a".repeat(1000)).len(), MAX_SHOWN);
    }
}
