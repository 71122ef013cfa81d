//! The option `--store`. An invalid value is never repeated in an error: it may contain a password.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::host::objects::StoreUrl;

/// Parses a [`StoreUrl`].
#[derive(Debug, Clone)]
pub(super) struct StoreParser;

impl TypedValueParser for StoreParser {
    type Value = StoreUrl;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<StoreUrl, Error> {
        let parsed = value.to_str().ok_or_else(|| "expected UTF-8".to_owned());
        let parsed = parsed
            .and_then(|text| text.parse().map_err(|error: crate::host::objects::StoreUrlError| error.to_string()));
        parsed.map_err(|why| {
            let message = format!("invalid value for '--store <URL>': {why}\n");
            Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
