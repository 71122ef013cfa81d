//! Judging bundles of the log.

use vouch_core::report::{BlockReport, HeadReport, OpReport};
use vouch_core::verify::{LogVerifyOptions, Trust, Verifier};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};
use crate::json;

/// Judges bundles of the log. It caches the committees of the last one.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct LogVerifier(Verifier);

/// What a bundle of the log is judged by.
#[wasm_bindgen]
#[derive(Debug)]
pub struct LogQuestion {
    trust: Trust,
    now: u64,
}

#[wasm_bindgen]
impl LogQuestion {
    /// `cluster`: the trusted cluster identity, and `checkpoint`: a committee that is trusted as well, both as text. `now`: seconds since
    /// 1970.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    pub fn new(cluster: Option<String>, checkpoint: Option<String>, now: f64) -> Result<Self, InputError> {
        Ok(Self { trust: input::trust(cluster, checkpoint)?, now: input::whole("now", now)? })
    }
}

impl LogQuestion {
    fn asking<W>(self, wanted: Option<W>) -> LogVerifyOptions<W> {
        LogVerifyOptions { trust: self.trust, wanted, now: self.now }
    }
}

#[wasm_bindgen]
impl LogVerifier {
    /// A verifier with an empty cache.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the bundle of an op. Returns the report, as JSON. `op`: the identity of the op that is asked for, as text; without one,
    /// the bundle may be of any op.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeOp)]
    pub fn judge_op(&mut self, bundle: &[u8], question: LogQuestion, op: Option<String>) -> Result<String, InputError> {
        let options = question.asking(op.map(|text| input::op(&text)).transpose()?);
        Ok(json(&OpReport::new(&self.0.judge_op(bundle, &options))))
    }

    /// Judges the bundle of a log head. Returns the report, as JSON. `height`: the least height that is asked for.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeHead)]
    pub fn judge_head(
        &mut self,
        bundle: &[u8],
        question: LogQuestion,
        height: Option<f64>,
    ) -> Result<String, InputError> {
        let options = question.asking(height_of(height)?);
        Ok(json(&HeadReport::new(&self.0.judge_head(bundle, &options))))
    }

    /// Judges the bundle of a block. Returns the report, as JSON. `height`: the height that is asked for; without one, the bundle may be of
    /// any block.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeBlock)]
    pub fn judge_block(
        &mut self,
        bundle: &[u8],
        question: LogQuestion,
        height: Option<f64>,
    ) -> Result<String, InputError> {
        let options = question.asking(height_of(height)?);
        Ok(json(&BlockReport::new(&self.0.judge_block(bundle, &options))))
    }
}

fn height_of(height: Option<f64>) -> Result<Option<u64>, InputError> {
    height.map(|height| input::whole("height", height)).transpose()
}
