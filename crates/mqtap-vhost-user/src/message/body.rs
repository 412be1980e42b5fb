//! The bodies of requests.

use mqtap_virtio::memory::RegionLayout;

use super::{Error, MAX_CONFIG, MAX_FDS};

/// Takes a body apart from the front. The size is checked before the first field, so nothing is ever
/// missing.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A body of exactly `expected` bytes.
    fn exactly(body: &'a [u8], expected: usize) -> Result<Self, Error> {
        if body.len() == expected {
            Ok(Fields(body))
        } else {
            Err(Error::BodySize { size: body.len(), expected })
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (first, rest) =
            self.0.split_first_chunk::<N>().ok_or(Error::BodySize { size: self.0.len(), expected: N })?;
        self.0 = rest;
        Ok(*first)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_ne_bytes)
    }

    fn region(&mut self) -> Result<RegionLayout, Error> {
        Ok(RegionLayout {
            guest_address: self.u64()?,
            size: self.u64()?,
            user_address: self.u64()?,
            mmap_offset: self.u64()?,
        })
    }
}

/// Bytes of one memory region description.
const REGION_SIZE: usize = 32;

/// A body that is one number.
pub(crate) fn number(body: &[u8]) -> Result<u64, Error> {
    Fields::exactly(body, 8)?.u64()
}

/// `SEND_RARP`: the address is the first six bytes of the number, in memory order.
pub(crate) fn mac(body: &[u8]) -> Result<[u8; 6], Error> {
    Fields::exactly(body, 8)?.take()
}

/// A ring and a number: `SET_VRING_NUM`, `SET_VRING_BASE`, `GET_VRING_BASE`, `SET_VRING_ENABLE`,
/// `SET_VRING_ENDIAN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringState {
    /// Ring number.
    pub index: u32,
    /// What is said about it.
    pub number: u32,
}

impl VringState {
    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::exactly(body, 8)?;
        Ok(VringState { index: fields.u32()?, number: fields.u32()? })
    }

    /// The body, as a reply has it.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.index.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.number.to_ne_bytes());
        bytes
    }
}

/// `SET_VRING_ADDR`. The three addresses are in the frontend's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringAddresses {
    /// Ring number.
    pub index: u32,
    /// Bit 0 (`VHOST_VRING_F_LOG`): writes to the used ring are to be logged at `log`.
    pub flags: u32,
    /// Descriptor table, or descriptor ring.
    pub descriptors: u64,
    /// Used ring, or device event suppression.
    pub used: u64,
    /// Available ring, or driver event suppression.
    pub available: u64,
    /// Guest address at which writes to the used ring are logged.
    pub log: u64,
}

impl VringAddresses {
    /// `VHOST_VRING_F_LOG`
    pub const LOG: u32 = 1;

    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::exactly(body, 40)?;
        Ok(VringAddresses {
            index: fields.u32()?,
            flags: fields.u32()?,
            descriptors: fields.u64()?,
            used: fields.u64()?,
            available: fields.u64()?,
            log: fields.u64()?,
        })
    }
}

/// `SET_VRING_KICK`, `SET_VRING_CALL`, `SET_VRING_ERR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringFile {
    /// Ring number: 8 bits are all there are.
    pub index: u8,
    /// Whether a descriptor comes with the message. Without, the other side polls.
    pub has_fd: bool,
}

impl VringFile {
    const INDEX_MASK: u64 = 0xff;
    const NO_FD: u64 = 1 << 8;

    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let number = number(body)?;
        let [index, ..] = (number & Self::INDEX_MASK).to_le_bytes();
        Ok(VringFile { index, has_fd: number & Self::NO_FD == 0 })
    }
}

/// `SET_MEM_TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTable {
    /// The regions, in the order of their descriptors.
    pub regions: Vec<RegionLayout>,
}

impl MemoryTable {
    /// Reads the body. It may be longer than its regions: the structure in the specification has room
    /// for eight, and some frontends send all of it.
    ///
    /// # Errors
    /// [`Error::BodySize`], [`Error::TooManyRegions`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields(body);
        let count = fields.u32()?;
        let _padding = fields.u32()?;
        let regions = usize::try_from(count).ok().filter(|regions| *regions <= MAX_FDS);
        let regions = regions.ok_or(Error::TooManyRegions { count })?;
        let expected = 8 + regions * REGION_SIZE;
        if body.len() < expected {
            return Err(Error::BodySize { size: body.len(), expected });
        }
        let regions = (0..regions).map(|_| fields.region()).collect::<Result<_, _>>()?;
        Ok(MemoryTable { regions })
    }
}

/// `ADD_MEM_REG`, `REM_MEM_REG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// The region.
    pub layout: RegionLayout,
}

impl MemoryRegion {
    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::exactly(body, 8 + REGION_SIZE)?;
        let _padding = fields.u64()?;
        Ok(MemoryRegion { layout: fields.region()? })
    }
}

/// `SET_LOG_BASE` with `LOG_SHMFD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Size of the log in bytes.
    pub size: u64,
    /// Where it begins in its file, in bytes.
    pub offset: u64,
}

impl Log {
    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::exactly(body, 16)?;
        Ok(Log { size: fields.u64()?, offset: fields.u64()? })
    }
}

/// `GET_CONFIG`, `SET_CONFIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config<'a> {
    /// First byte of the configuration space concerned.
    pub offset: usize,
    /// 0: the driver writes; 1: live migration.
    pub flags: u32,
    /// As many bytes as are asked for or given.
    pub payload: &'a [u8],
}

impl<'a> Config<'a> {
    /// Bytes in front of the payload.
    const HEAD: usize = 12;

    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::BodySize`], [`Error::ConfigRange`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut fields = Fields(body);
        let (offset, size, flags) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let out_of_range = Error::ConfigRange { offset, size };
        let (Ok(first), Ok(len)) = (usize::try_from(offset), usize::try_from(size)) else {
            return Err(out_of_range);
        };
        if first.checked_add(len).is_none_or(|end| end > MAX_CONFIG) {
            return Err(out_of_range);
        }
        let payload = fields.0;
        if payload.len() != len {
            return Err(Error::BodySize { size: body.len(), expected: Self::HEAD + len });
        }
        Ok(Config { offset: first, flags, payload })
    }

    /// The body of a reply: the request's, with these bytes as payload.
    pub(crate) fn reply(body: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut reply = body.get(..Self::HEAD).unwrap_or(body).to_vec();
        reply.extend_from_slice(payload);
        reply
    }
}
