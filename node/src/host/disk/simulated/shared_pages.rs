//! Bytes in pages that clones share until one of them changes: a disk is copied often, and then little of it is written.

use std::sync::Arc;

const PAGE: usize = 4096;

#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    /// Zero beyond the length.
    pages: Vec<Arc<[u8; PAGE]>>,
    length: usize,
}

impl Pages {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        pages.write(0, bytes);
        pages
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(0, &mut bytes);
        bytes
    }

    /// Fills a buffer from an offset on; `false` where there are not so many bytes.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        if offset.checked_add(buffer.len()).is_none_or(|end| end > self.length) {
            return false;
        }
        let mut done = 0;
        while done < buffer.len() {
            let (page, at) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let size = (PAGE - at).min(buffer.len() - done);
            buffer[done..done + size].copy_from_slice(&self.pages[page][at..at + size]);
            done += size;
        }
        true
    }

    /// Makes the file longer where the bytes end beyond its end.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.length {
            self.resize(end);
        }
        let mut done = 0;
        while done < data.len() {
            let (page, at) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let size = (PAGE - at).min(data.len() - done);
            Arc::make_mut(&mut self.pages[page])[at..at + size].copy_from_slice(&data[done..done + size]);
            done += size;
        }
    }

    /// New bytes are zero.
    pub(super) fn resize(&mut self, length: usize) {
        if let Some(page) = self.pages.get_mut(length / PAGE).filter(|_| length < self.length) {
            Arc::make_mut(page)[length % PAGE..].fill(0);
        }
        let count = length.div_ceil(PAGE);
        if count > self.pages.len() {
            // one page, until somebody writes to it
            self.pages.resize(count, Arc::new([0; PAGE]));
        }
        self.pages.truncate(count);
        self.length = length;
    }
}
