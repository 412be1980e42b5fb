//! The `mqtap` command. See `mqtap --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    mqtap_cli::run()
}
