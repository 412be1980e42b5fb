//! The requests about guest memory and its dirty log.

use std::sync::Arc;

use mqtap_virtio::memory::{DirtyLog, GuestMemory};

use super::descriptors::Descriptors;
use super::features::protocol;
use super::memory_table::MemoryTable;
use super::{RequestError, Session};
use crate::Device;
use crate::message::{self, Log, MemoryRegion};

impl<D: Device> Session<'_, D> {
    pub(super) fn set_mem_table(
        &mut self,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<(), RequestError> {
        let layouts = message::MemoryTable::parse(body)?.regions;
        let fds = descriptors.exactly(layouts.len())?;
        let table = self.table.replaced(&layouts, fds)?;
        self.use_table(table)
    }

    pub(super) fn add_mem_reg(&mut self, body: &[u8], descriptors: Descriptors) -> Result<(), RequestError> {
        let layout = MemoryRegion::parse(body)?.layout;
        match self.table.with(layout, descriptors.one()?)? {
            Some(table) => self.use_table(table),
            None => Ok(()),
        }
    }

    /// A descriptor that comes along is closed: some frontends send one (specification, REM_MEM_REG).
    pub(super) fn rem_mem_reg(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let layout = MemoryRegion::parse(body)?.layout;
        match self.table.without(layout)? {
            Some(table) => self.use_table(table),
            None => Ok(()),
        }
    }

    /// Gives the device the memory of a new table. If it will not have it, everything is as before.
    fn use_table(&mut self, table: MemoryTable) -> Result<(), RequestError> {
        let memory = table.memory()?;
        self.park_rings_outside(memory.as_ref());
        let used = self.give_memory(memory.as_ref());
        if used.is_ok() {
            self.table = table;
            self.memory = memory;
        }
        self.start_waiting_rings();
        used
    }

    /// Gives the device this memory, with the log if it is switched on.
    pub(super) fn give_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), RequestError> {
        let log = self.log.as_ref().filter(|_| self.log_all);
        let logged = memory.map(|memory| memory.with_log(log.cloned()));
        self.device.set_memory(logged.as_ref()).map_err(RequestError::device)
    }

    /// Switches logging while rings run (`SET_FEATURES` with another `VHOST_F_LOG_ALL`).
    pub(super) fn switch_log(&mut self, on: bool) -> Result<(), RequestError> {
        let before = std::mem::replace(&mut self.log_all, on);
        let memory = self.memory.clone();
        let switched = if memory.is_some() { self.give_memory(memory.as_ref()) } else { Ok(()) };
        if switched.is_err() {
            self.log_all = before;
        }
        switched
    }

    pub(super) fn set_log_base(&mut self, body: &[u8], descriptors: Descriptors) -> Result<(), RequestError> {
        if self.protocol_features & protocol::LOG_SHMFD == 0 {
            return Err(RequestError::LogNotShared);
        }
        let Log { size, offset } = Log::parse(body)?;
        let fd = descriptors.one()?;
        let needed = self.memory.as_ref().map_or(0, log_size_for);
        if size < needed {
            return Err(RequestError::LogTooSmall { size, needed });
        }
        let log = Arc::new(DirtyLog::map(fd, offset, size, self.table.budget())?);
        let before = self.log.replace(log);
        if !self.log_all {
            return Ok(());
        }
        let memory = self.memory.clone();
        let used = if memory.is_some() { self.give_memory(memory.as_ref()) } else { Ok(()) };
        if used.is_err() {
            self.log = before;
        }
        used
    }
}

/// Bytes a log of this memory has: a bit for each page of 4 KiB, from guest address 0 on.
fn log_size_for(memory: &GuestMemory) -> u64 {
    const BYTES_PER_LOG_BYTE: u64 = 8 * 4096;
    let last = memory.regions().iter().map(|region| {
        let layout = region.layout();
        layout.guest_address + (layout.size - 1)
    });
    last.max().map_or(0, |last| last / BYTES_PER_LOG_BYTE + 1)
}
