//! A UDP socket that takes everything and checks every byte.

use std::io::ErrorKind;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use clap::Args;
use mqtap_driver::load::Checker;
use rustix::net::sockopt;
use serde_json::json;

use crate::talk::{BoxError, serve, unknown};

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  take       take all that wait in the socket, and say what they were
  quit       end, as does the end of stdin

Between two of these nothing is read: the datagrams wait in the socket.";

/// Room for a second of small datagrams, each of which the kernel counts as 768 bytes and more.
const ROOM: usize = 1 << 30;
/// How long to wait for a datagram on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(5);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Address to take datagrams at
    #[arg(long)]
    bind: SocketAddrV4,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let socket = UdpSocket::bind(options.bind)?;
    // The kernel doubles what it is told.
    sockopt::set_socket_recv_buffer_size_force(&socket, ROOM / 2)?;
    socket.set_read_timeout(Some(ON_ITS_WAY))?;
    let mut checker = Checker::default();
    let mut buffer = vec![0; 65536];
    serve(|words| match *words {
        ["take"] => {
            let before = checker.counters();
            loop {
                match socket.recv(&mut buffer) {
                    Ok(length) => checker.payload(&buffer[..length]),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let seen = checker.counters() - before;
            Ok(json!({
                "ok": true,
                "payloads": seen.payloads,
                "out_of_order": seen.out_of_order,
                "missing": seen.missing,
                "corrupt": seen.corrupt,
                "others": seen.others,
            }))
        }
        _ => unknown(words),
    })
}
