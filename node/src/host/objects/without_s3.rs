//! Replaces the S3 client in a program that was built without it.

use bytes::Bytes;

use super::{Listed, ObjectError, S3Url, Timeouts};

/// No credentials.
#[derive(Debug, Clone, Default)]
pub struct Credentials(());

impl Credentials {
    /// Does not read the environment.
    pub fn from_environment() -> Self {
        Self(())
    }
}

/// Objects of an object store. This program cannot open any.
#[derive(Debug, Clone)]
pub enum Objects {}

impl Objects {
    /// Fails, because this program has no S3 client.
    ///
    /// # Errors
    /// [`ObjectError::NotBuilt`], always.
    pub fn open(url: &S3Url, _: &Credentials, _owner: &str, _is_taken: bool, _: Timeouts) -> Result<Self, ObjectError> {
        Err(ObjectError::NotBuilt { place: url.place() })
    }

    /// Fails, because this program has no S3 client.
    ///
    /// # Errors
    /// [`ObjectError::NotBuilt`], always.
    pub fn is_claimed(url: &S3Url, _: &Credentials, _: Timeouts) -> Result<bool, ObjectError> {
        Err(ObjectError::NotBuilt { place: url.place() })
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn get(&self, _name: &str, _offset: u64, _length: u32) -> Result<Bytes, ObjectError> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn length(&self, _name: &str) -> Result<Option<u64>, ObjectError> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn version(&self, _name: &str) -> Result<Option<String>, ObjectError> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn remove(&self, _name: &str) -> Result<(), ObjectError> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn list(&self, _beginning: &str) -> Result<Vec<Listed>, ObjectError> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn put<E: From<ObjectError>>(
        &self,
        _name: &str,
        _length: u64,
        _read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match *self {}
    }

    /// Never called.
    pub fn location(&self, _name: &str) -> String {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed_and_the_error_says_what_to_do() {
        let url: S3Url = "bucket/prefix".parse().unwrap();
        let error =
            Objects::open(&url, &Credentials::default(), "owner", false, Timeouts::default()).unwrap_err().to_string();
        assert!(error.contains("s3://bucket/prefix") && error.contains("--features s3"), "{error}");
    }
}
