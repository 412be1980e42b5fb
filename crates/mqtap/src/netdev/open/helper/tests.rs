use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;

use super::{OsString, UnixStream, command, own_command};

fn text(command: &[OsString]) -> Vec<&str> {
    command.iter().map(|word| word.to_str().unwrap()).collect()
}

#[test]
fn the_command_line_is_qemus() {
    let (socket, _other) = UnixStream::pair().unwrap();
    let fd = format!("--fd={}", socket.as_raw_fd());
    let plain = command("/usr/lib/qemu/qemu-bridge-helper", socket.as_fd(), "br1");
    assert_eq!(text(&plain), ["/usr/lib/qemu/qemu-bridge-helper", "--use-vnet", &fd, "--br=br1"]);
    let shell = command("/bin/h --flag", socket.as_fd(), "br1");
    assert_eq!(text(&shell)[..4], ["/bin/sh", "-c", "/bin/h --flag \"$@\"", "sh"]);
    assert_eq!(text(&shell)[4..], ["--use-vnet", &fd, "--br=br1"]);
    let has_bridge = command("/bin/h\t--br=br7", socket.as_fd(), "br1");
    assert_eq!(text(&has_bridge)[4..], ["--use-vnet", &fd]);
    let own = own_command(PathBuf::from("/usr/bin/mqtap"), socket.as_fd(), "br1", 4);
    assert_eq!(text(&own), ["/usr/bin/mqtap", "helper", "--use-vnet", &fd, "--br=br1", "--queues=4"]);
}
