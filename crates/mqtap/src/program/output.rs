//! What a program prints, line by line, to the log.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// A line is cut into pieces of this length, in bytes.
const LONGEST_LINE: usize = 1024;

/// One of the two ways out of a program.
pub(super) struct Output<'a> {
    pipe: OwnedFd,
    label: &'a str,
    line: Vec<u8>,
    last: Option<String>,
    at_end: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(pipe: OwnedFd, label: &'a str) -> Self {
        // Our end only. Should it fail, a program that leaves something running in the background is waited for.
        if let Ok(flags) = fcntl_getfl(&pipe) {
            let _ = fcntl_setfl(&pipe, flags | OFlags::NONBLOCK);
        }
        Self { pipe, label, line: Vec::new(), last: None, at_end: false }
    }

    /// Whether nothing more can come.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Reads once.
    pub(super) fn read_some(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(length @ 1..) => self.take(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.at_end = true,
        }
    }

    /// Takes what is there still, and returns the last line.
    pub(super) fn finish(mut self) -> Option<String> {
        // As much as a pipe holds, and no more: what runs in the background may print for ever.
        let mut buffer = [0; 65_536];
        let read =
            |buffer: &mut [u8]| rustix::io::retry_on_intr(|| rustix::io::read(&self.pipe, &mut *buffer));
        if let Ok(length) = read(&mut buffer) {
            self.take(&buffer[..length]);
        }
        self.say();
        self.last
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() == LONGEST_LINE {
                self.say();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
    }

    fn say(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        if !text.is_empty() {
            // No control characters: they could colour, move or forge what a terminal shows.
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            tracing::info!("{}: {text}", self.label);
            self.last = Some(text);
        }
        self.line.clear();
    }
}

impl AsFd for Output<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
