use std::sync::mpsc;

use super::*;

/// An output that accepts a write only when the test allows it.
struct Pipe {
    allowed: mpsc::Receiver<io::Result<()>>,
    written: mpsc::Sender<String>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowed.recv().unwrap_or(Ok(()))?;
        // the test may be over
        let _ = self.written.send(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pipe() -> (BackgroundWriter, mpsc::Sender<io::Result<()>>, mpsc::Receiver<String>, mpsc::Receiver<u64>) {
    let (allow, allowed) = mpsc::channel();
    let (written, text) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    // the test may be over
    let resumed = move |dropped| {
        let _ = tell.send(dropped);
    };
    (BackgroundWriter::start("test", Pipe { allowed, written }, resumed).unwrap(), allow, text, told)
}

#[test]
fn lines_that_nobody_reads_are_dropped_and_counted() {
    let (writer, allow, text, told) = pipe();
    // None of these writes blocks; the thread may have taken the first one.
    let line = vec![b'a'; QUEUE / 4];
    for _ in 0..20 {
        writer.write(line.clone());
    }
    drop(allow);
    writer.flush(Duration::from_secs(60));
    let written = text.try_iter().map(|written| written.len()).sum::<usize>() / line.len();
    assert!((4..=8).contains(&written), "{written} lines were kept");
    assert_eq!(told.try_iter().sum::<u64>(), 20 - written as u64);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let (writer, allow, text, told) = pipe();
    allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    writer.write(b"lost\n".to_vec());
    writer.flush(Duration::from_secs(60));
    drop(allow);
    writer.write(b"written\n".to_vec());
    assert_eq!(told.recv(), Ok(1));
    assert_eq!(text.recv().as_deref(), Ok("written\n"));
}

#[test]
fn queued_lines_are_written_by_a_flush() {
    let (writer, allow, text, _) = pipe();
    for _ in 0..3 {
        writer.write(b"line\n".to_vec());
    }
    drop(allow);
    writer.flush(Duration::from_secs(60));
    assert_eq!(text.try_iter().collect::<String>(), "line\nline\nline\n");
}
