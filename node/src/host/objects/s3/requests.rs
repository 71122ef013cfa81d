//! The requests to an S3 store.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig,
};

use super::answer::{self, innermost, shown};
use super::{Credentials, Listed, ObjectError, RequestKind, S3Client, S3Url, Timeouts};

/// Name of the object that holds the owner's name.
const OWNER: &str = "owner";
const MAX_OWNER: u64 = 1024;
const RETRIES: usize = 3;

impl S3Client {
    pub(super) fn path(&self, name: &str) -> Path {
        Path::from(self.url.key(name))
    }

    pub(super) fn location(&self, name: &str) -> String {
        format!("s3://{}/{}", self.url.bucket, self.url.key(name))
    }

    pub(super) fn error(&self, request: RequestKind, name: &str, error: &Error) -> ObjectError {
        answer::error_of(&self.url, request, name, error)
    }

    pub(super) fn unreachable(&self, cause: String) -> ObjectError {
        ObjectError::Unreachable { server: self.url.server().into(), cause }
    }

    pub(super) fn differs(&self, name: &str, expected: u64, got: u64) -> ObjectError {
        ObjectError::LengthDiffers { server: self.url.server().into(), object: self.location(name), expected, got }
    }

    pub(super) async fn get(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, ObjectError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(offset..offset + length)), ..GetOptions::default() };
        let failed = |error: &Error| self.error(RequestKind::Read, name, error);
        let result = match self.s3.get_opts(&self.path(name), options).await {
            Ok(result) => result,
            // the object ends before the range begins
            Err(error) if answer::is_beyond_the_end(&error) => {
                let got = self.length(name).await?.unwrap_or(0).saturating_sub(offset);
                return Err(self.differs(name, length, got));
            }
            Err(error) => return Err(failed(&error)),
        };
        let mut bytes = BytesMut::new();
        let mut stream = result.into_stream();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| failed(&error))?);
            if bytes.len() as u64 > length {
                break;
            }
        }
        match bytes.len() as u64 {
            got if got == length => Ok(bytes.freeze()),
            got => Err(self.differs(name, length, got)),
        }
    }

    pub(super) async fn length(&self, name: &str) -> Result<Option<u64>, ObjectError> {
        match self.s3.head(&self.path(name)).await.map_err(|error| self.error(RequestKind::Read, name, &error)) {
            Ok(object) => Ok(Some(object.size)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn version(&self, name: &str) -> Result<Option<String>, ObjectError> {
        match self.s3.head(&self.path(name)).await.map_err(|error| self.error(RequestKind::Read, name, &error)) {
            Ok(object) => {
                let (tag, version) = (object.e_tag.unwrap_or_default(), object.version.unwrap_or_default());
                // the second of its writing, for a store that knows neither
                Ok(Some(format!("{} {tag} {version} {}", object.size, object.last_modified)))
            }
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn page(
        &self,
        beginning: &str,
        page_token: Option<String>,
        most: usize,
    ) -> Result<(Vec<Listed>, Option<String>), ObjectError> {
        let key = self.url.key(beginning);
        let options = PaginatedListOptions { max_keys: Some(most), page_token, ..PaginatedListOptions::default() };
        let page = self.s3.list_paginated(Some(&key), options).await;
        let page = page.map_err(|error| self.error(RequestKind::List, beginning, &error))?;
        let above = self.url.key("");
        let listed = page.result.objects.into_iter().filter_map(|object| {
            let name = object.location.as_ref().strip_prefix(&above)?.to_owned();
            Some(Listed { name, length: object.size })
        });
        Ok((listed.collect(), page.page_token))
    }

    /// Whether anybody has claimed the prefix.
    pub(super) async fn is_claimed(&self) -> Result<bool, ObjectError> {
        if let Err(error) = self.s3.credentials().get_credential().await {
            let cause = format!(": {}", innermost(&error));
            return Err(ObjectError::NoCredentials { server: self.url.server().into(), cause });
        }
        // Check that the bucket exists and may be listed: without that permission, a lost object looks like a
        // forbidden one.
        let (listed, _) = self.page(OWNER, None, 1).await?;
        Ok(!listed.is_empty())
    }

    /// Claims the prefix for an owner, unless it has one. Does not claim it again if it was claimed before: its objects are lost.
    pub(super) async fn take(&self, owner: &str, is_taken: bool) -> Result<(), ObjectError> {
        self.is_claimed().await?;
        if self.check_owner(owner).await? {
            return Ok(());
        }
        if is_taken {
            return Err(ObjectError::NotFound { object: self.location(OWNER) });
        }
        let payload = PutPayload::from(owner.as_bytes().to_vec());
        match self.s3.put_opts(&self.path(OWNER), payload, PutMode::Create.into()).await {
            // another process was faster
            Ok(_) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(self.error(RequestKind::Write, OWNER, &error)),
        }
        // A store without conditional writes may have accepted another owner.
        match self.check_owner(owner).await? {
            true => Ok(()),
            false => Err(ObjectError::NotFound { object: self.location(OWNER) }),
        }
    }

    /// Whether this owner has claimed the prefix.
    pub(super) async fn check_owner(&self, owner: &str) -> Result<bool, ObjectError> {
        let length = match self.s3.get(&self.path(OWNER)).await {
            Ok(object) => object.meta.size,
            Err(error) => match self.error(RequestKind::Read, OWNER, &error) {
                ObjectError::NotFound { .. } => return Ok(false),
                error => return Err(error),
            },
        };
        let found = self.get(OWNER, 0, length.min(MAX_OWNER)).await?;
        if found == owner.as_bytes() {
            return Ok(true);
        }
        let owner = shown(&String::from_utf8_lossy(&found));
        Err(ObjectError::Taken { place: self.url.place(), owner })
    }
}

pub(super) fn connect(url: &S3Url, credentials: &Credentials, timeouts: Timeouts) -> Result<AmazonS3, Error> {
    // fails if it was done before
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_plain = url.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http:"));
    let options = ClientOptions::new()
        .with_allow_http(is_plain)
        // a machine may have none, and needs none here
        .with_no_system_certificates(is_plain && credentials.are_keys())
        .with_connect_timeout(timeouts.connect)
        .with_timeout(timeouts.answer);
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    let mut builder = credentials
        .give(AmazonS3Builder::new())
        .with_bucket_name(&url.bucket)
        .with_client_options(options)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: timeouts.question })
        // not every store supports it, and only one object at a time is removed anyway
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true");
    if let Some(region) = &url.region {
        builder = builder.with_region(region);
    }
    match &url.endpoint {
        // only Amazon resolves BUCKET.HOST
        Some(endpoint) => builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false),
        // Amazon's certificate does not cover a bucket with a dot
        None => builder = builder.with_virtual_hosted_style_request(!url.bucket.contains('.')),
    }
    builder.build()
}
