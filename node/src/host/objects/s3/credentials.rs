//! The credentials for an object store, from standard environment variables only.

use std::fmt;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

/// The standard variables; later ones override earlier ones. Other variables with this prefix could disable the verification of
/// certificates or redirect to another server, so they are ignored.
const VARIABLES: [(&str, Key); 11] = [
    ("AWS_ACCESS_KEY_ID", Key::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", Key::SecretAccessKey),
    ("AWS_SESSION_TOKEN", Key::Token),
    ("AWS_DEFAULT_REGION", Key::DefaultRegion),
    ("AWS_REGION", Key::Region),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Key::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", Key::RoleArn),
    ("AWS_ROLE_SESSION_NAME", Key::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Key::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Key::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Key::ContainerAuthorizationTokenFile),
];

/// Keys, or the source of temporary ones, and their region. The values are never printed.
#[derive(Clone, Default)]
pub struct Credentials(Vec<(Key, String)>);

impl Credentials {
    /// Reads the standard variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, and those of roles and containers.
    pub fn from_environment() -> Self {
        let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self(VARIABLES.iter().filter_map(|(name, key)| Some((*key, value(name)?))).collect())
    }

    /// A key and its secret.
    pub fn new(key: &str, secret: &str) -> Self {
        Self(vec![(Key::AccessKeyId, key.into()), (Key::SecretAccessKey, secret.into())])
    }

    /// Whether there are no credentials, except perhaps a region.
    pub(super) fn are_missing(&self) -> bool {
        self.0.iter().all(|(key, _)| matches!(key, Key::Region | Key::DefaultRegion))
    }

    /// Whether there are keys, so that no other source is asked.
    pub(super) fn are_keys(&self) -> bool {
        self.0.iter().any(|(key, _)| matches!(key, Key::AccessKeyId))
    }

    pub(super) fn give(&self, builder: AmazonS3Builder) -> AmazonS3Builder {
        self.0.iter().fold(builder, |builder, (key, value)| builder.with_config(*key, value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}
