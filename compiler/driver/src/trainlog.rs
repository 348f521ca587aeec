//! `log = "file"`: the figures of each epoch as a line of CSV, of JSON (`.jsonl`, `.json`), or as
//! TensorBoard's events (a name with `tfevents`). They are written as they come, so that a run can
//! be watched.

use crate::session::Result;
use aec_syntax::{Diagnostic, Span};
use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// How figures are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    Json,
    Events,
}

/// An open log.
pub struct TrainLog {
    file: File,
    path: String,
    span: Span,
    form: Form,
    head: bool,
}

impl TrainLog {
    /// Opens the file, replacing what it held.
    pub fn create(path: &str, span: Span) -> Result<TrainLog> {
        let form = match path {
            path if path.contains("tfevents") => Form::Events,
            path if path.ends_with(".jsonl") || path.ends_with(".json") => Form::Json,
            _ => Form::Csv,
        };
        let file = File::create(path).map_err(|error| cannot_write(path, span, &error))?;
        Ok(TrainLog {
            file,
            path: path.to_string(),
            span,
            form,
            head: false,
        })
    }

    /// Writes the figures of an epoch, counted from 0.
    pub fn write(&mut self, epoch: usize, figures: &[(String, f64)]) -> Result<()> {
        let bytes = match self.form {
            Form::Csv => self.csv(epoch, figures).into_bytes(),
            Form::Json => json(epoch, figures).into_bytes(),
            Form::Events => self.events(epoch, figures),
        };
        self.head = true;
        self.file
            .write_all(&bytes)
            .map_err(|error| cannot_write(&self.path, self.span, &error))
    }

    fn csv(&self, epoch: usize, figures: &[(String, f64)]) -> String {
        let mut text = String::new();
        if !self.head {
            let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
            text.push_str(&format!("epoch,{}\n", names.join(",")));
        }
        let values: Vec<String> = figures.iter().map(|(_, value)| value.to_string()).collect();
        text.push_str(&format!("{},{}\n", epoch + 1, values.join(",")));
        text
    }

    /// One event with a summary of all figures; before the first, the version of the format.
    fn events(&self, epoch: usize, figures: &[(String, f64)]) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0.0, |since| since.as_secs_f64());
        let mut out = Vec::new();
        if !self.head {
            let mut event = Message::default();
            event.double(1, now);
            event.bytes(3, b"brain.Event:2");
            out.extend(record(&event.0));
        }
        let mut summary = Message::default();
        for (name, value) in figures {
            let mut entry = Message::default();
            entry.bytes(1, name.as_bytes());
            entry.float(2, *value as f32);
            summary.bytes(1, &entry.0);
        }
        let mut event = Message::default();
        event.double(1, now);
        event.int(2, epoch as u64 + 1);
        event.bytes(5, &summary.0);
        out.extend(record(&event.0));
        out
    }
}

fn json(epoch: usize, figures: &[(String, f64)]) -> String {
    let fields: Vec<String> = figures
        .iter()
        .map(|(name, value)| match value.is_finite() {
            true => format!("{name:?}:{value}"),
            false => format!("{name:?}:null"),
        })
        .collect();
    format!("{{\"epoch\":{},{}}}\n", epoch + 1, fields.join(","))
}

/// A message of protocol buffers, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }
}

/// A record of TensorFlow's files: length, its check sum, the data, their check sum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(data);
    out.extend(masked(crc32c(data)).to_le_bytes());
    out
}

/// CRC-32C (Castagnoli), bit by bit: events are small.
fn crc32c(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn cannot_write(path: &str, span: Span, error: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(
        "E0812",
        span,
        format!("cannot write {path}: {error}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_castagnolis() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_event_is_a_message_of_its_fields() {
        let mut entry = Message::default();
        entry.bytes(1, b"loss");
        entry.float(2, 1.5);
        assert_eq!(entry.0, b"\x0a\x04loss\x15\x00\x00\xc0\x3f");
        let mut event = Message::default();
        event.int(2, 300);
        assert_eq!(event.0, [0x10, 0xac, 0x02]);
        assert_eq!(record(b"ab").len(), 8 + 4 + 2 + 4);
    }
}
