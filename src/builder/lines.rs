//! Lines of a pipe that project code writes to: bounded, whatever is written.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::messages::MESSAGE_BYTES_MAX;

/// Bytes of an over-long line that are read, and dropped, at once.
const DROPPED_AT_ONCE: usize = 4096;

/// Lines of a pipe, none longer than [`MESSAGE_BYTES_MAX`]; the rest of a longer one is dropped.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
    dropped: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(pipe: R) -> Self {
        Self { reader: BufReader::new(pipe), buffer: Vec::new(), dropped: 0 }
    }

    /// Bytes that were dropped since the last call: a line without an end is no line, but somebody writes it.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Safe to drop half-way: what was read so far stays in the buffer.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let room = (MESSAGE_BYTES_MAX + 1).saturating_sub(self.buffer.len());
            // Over-long: read on in small pieces that are dropped until the line ends.
            let overflow = room == 0;
            if overflow {
                self.buffer.truncate(MESSAGE_BYTES_MAX);
            }
            let piece = if overflow { DROPPED_AT_ONCE } else { room };
            let read = (&mut self.reader).take(piece as u64).read_until(b'\n', &mut self.buffer).await.unwrap_or(0);
            if overflow {
                self.dropped += read as u64;
            }
            let complete = self.buffer.last() == Some(&b'\n');
            if read == 0 && self.buffer.is_empty() {
                return None;
            }
            if complete || read == 0 {
                let mut line = std::mem::take(&mut self.buffer);
                line.truncate(MESSAGE_BYTES_MAX + 1);
                return Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let long = "x".repeat(MESSAGE_BYTES_MAX * 3);
        let text = format!("one\n{long}\r\n\ntwo");
        let mut lines = Lines::new(text.as_bytes());
        assert_eq!(lines.next().await.as_deref(), Some("one"));
        let cut = lines.next().await.expect("the long one");
        assert!(cut.len() <= MESSAGE_BYTES_MAX + 1 && cut.starts_with("xxx"));
        assert!(lines.take_dropped() > MESSAGE_BYTES_MAX as u64 && lines.take_dropped() == 0);
        assert_eq!(lines.next().await.as_deref(), Some(""));
        assert_eq!(lines.next().await.as_deref(), Some("two"));
        assert_eq!(lines.next().await, None);
    }
}
